"""From what many people sent to boards on which every number was taken afresh.

`entries.read` checks a source run by run (`evaluations`, `score_tables`; `bounds` says what may be opened of it),
`merging` counts each run once and keeps only those of the same examples together, `board.make` ranks. The commands are
`analysis.leaderboard` and `analysis.submission`.
"""
