"""A reward model somebody made: its files found and checked, then loaded and ready to score."""
