"""A sweep: its jobs, what of them others have in hand, and the processes that carry them out.

jobs, sweep   the jobs as Hydra hands them over, and what the terminal shows of them
tasks         a job as plain data, for other processes
launching     which processes: here, workers, or those of a launcher
workers, forked, slurm, slurm_job, ray   one file a way
"""
