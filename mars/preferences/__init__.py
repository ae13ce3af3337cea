"""What a preference is, and how raw rows become the base, validation and test pairs of a study."""
