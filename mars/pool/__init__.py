"""Variants of the base pairs, made when a run first looks at them: store, gates, semantic layer, preservation.

rows         every synthetic pair as a number
pool         the variants behind the rows, and the pairs they make
store        variants on disk, made once by whoever comes first
on_workers   variants made by the workers of a cluster
gates        which variants may inherit a label
semantic, semantic_settings   close pairs rewritten before they are augmented (v2)
unchanged    variants that equal their source, and why
preservation, planted_reading   how many drawn rows kept their label, where the truth is known
"""
