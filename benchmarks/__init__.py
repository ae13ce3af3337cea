"""How a trained reward model is judged: one file per evaluation protocol.

protocol, registry     what a benchmark is, and which there are
protocols/             the benchmarks
splits, hub_rows, edits, candidates   the rows they are made of
metrics, pair_metrics, group_metrics, edit_metrics, calibration, order_statistics, picks   scores to numbers
evaluate, settings, judging, models/   the command, and any model judged
align/, trl_import     a policy trained with a reward model
replies                what runs pick, as replies for a judge
judge, judges/         policies' replies judged against each other, and what the judge is worth
card, card_results, card_text, share   the model card: its facts and its words; the hub
kill, killer           whether a run that is killed and started again is the same run
speed/                 how fast it all is
"""
