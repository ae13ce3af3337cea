"""What a variant of a text is, and one file for each way to make one."""
