"""How sure we are: intervals, the declared comparisons, and what may be compared at all.

stats           intervals, paired differences, families of tests, power
sequential      levels for looking after each batch of replicates
comparisons     the comparisons named before the numbers are seen
comparability   what arms differ in beside their strategy
curvature, regimes   what goes with accuracy, and where an arm wins
coverage        whether the intervals hold what they promise, by simulation
"""
