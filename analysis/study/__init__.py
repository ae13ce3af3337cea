"""Run directories read into a `Study`: what ran, what it measured, what was left out and why.

loading    sources to a study
run_files, wandb_runs   one run, from its directory or from W&B
tables     the runs as tables
study      the study in memory
naming     what an arm is called
results_table, pools   its numbers, and what its pools gave, as tables
"""
