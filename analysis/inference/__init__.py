"""How sure we are: intervals, the declared comparisons, and what may be compared at all."""
