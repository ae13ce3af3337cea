"""A reward model somebody made: its files found and checked, then loaded and ready to score.

model_files, pretrained   its files, and the model
on_workers                the same model in the workers of a cluster
policy, sampling          a causal model that writes candidates
tiny_writer               a small one for the planted world, trained from scratch
"""
