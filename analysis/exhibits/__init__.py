"""What a study shows: one file for each topic, its tables and its figures."""
