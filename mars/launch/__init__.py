"""How a sweep reaches other processes: its jobs as plain tasks, and what carries them out."""
