"""The reward model: a backbone with one scalar head, what its texts become, and how pairs are batched and scored."""
