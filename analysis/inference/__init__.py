"""How sure we are: intervals, the declared comparisons, and what may be compared at all.

stats           intervals, families of tests
difference      arm − reference over replicates and examples; settling: what would settle what it leaves open
power           how many replicates, before the run
sequential      levels for looking after each batch of replicates
comparisons     the comparisons named before the numbers are seen
comparability   what arms differ in beside their strategy
curvature, regimes   what goes with accuracy, and where an arm wins
coverage        whether the intervals hold what they promise, by simulation
"""
