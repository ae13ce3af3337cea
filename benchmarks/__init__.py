"""How a trained reward model is judged: one file per evaluation protocol.

protocol, choices   what a benchmark is, and which there are
protocols/          the benchmarks
metrics, pair_metrics, calibration   scores to numbers
evaluate, settings, judging, models/   the command, and any model judged
card, share         the model card, and the hub
speed/              how fast it all is
"""
