"""What a run leaves behind: its directory, its manifest and its tables."""
