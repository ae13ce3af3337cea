"""How sure we are: intervals, the declared comparisons, and what may be compared at all.

stats, design            intervals and families of tests; what a study's claims are about
comparisons, verdicts    the comparisons named before the numbers are seen, and what is said of them
comparability, lengths   what arms differ in beside their strategy, and at which length they are compared
difference, contrasts, pairing, components   arm − reference over replicates and examples; what its error is made of
power, pilot, endpoints  before the run: how many replicates, and judged by what
sequential, settling     levels for looking after each batch of replicates; what would settle what is left open
curvature, regimes, regime_map   what goes with accuracy, and where an arm wins
sensitivity, pool_effects, label_equivalence   other training, other pools, and what an arm is worth in labels
label_noise, noise_evidence, noise_model       how many labels are wrong, and where
downstream, win_rates, foretelling             what picks and policies gain, and what foretells it
coverage, label_coverage, noise_coverage, rank_coverage   whether the intervals hold what they promise, by simulation
"""
