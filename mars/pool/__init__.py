"""Variants of the base pairs, made when a run first looks at them: store, gates, semantic layer, preservation."""
