"""Run directories read into a `Study`: what ran, what it measured, what was left out and why.

loading, parallel        sources to a study, on all cores
run_files, wandb_runs    one run, from its directory or from W&B
judgements               what judges said of a run's replies
study, tables            the study in memory, and its runs as tables
naming, arm_names        what an arm is called; what its name says
labels                   what runs were judged on beside their test pairs
results_table, pools     its numbers, and what its pools gave, as tables
looks                    the rule of a study that is looked at while it grows
run_costs, workers       what a run took, and what several workers would take
"""
