"""How a trained reward model is judged: one file per evaluation protocol.

protocol, registry  what a benchmark is, and which there are
protocols/          the benchmarks
metrics, pair_metrics, group_metrics, edit_metrics, calibration   scores to numbers
evaluate, settings, judging, models/   the command, and any model judged
judge, judges/      policies' replies judged against each other, and what the judge is worth
card, card_results, card_text, share   the model card: its facts and its words; the hub
kill, killer        whether a run that is killed and started again is the same run
speed/              how fast it all is
"""
