"""Launchers: how the runs of a sweep reach other processes and machines, and what comes back of each."""
