"""What a process is and may: its cores and cards, its program, its rank among several, and how it is asked to stop."""
