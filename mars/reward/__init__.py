"""The reward model, one question a module.

backbone, weights   where its weights come from, and how text reaches them (settings)
model               what it is: a backbone with one scalar head, or a linear head on frozen features
tokens, features    what a rendered text becomes: token ids, or a cached vector
texts               dialogues rendered, registered once, and then known by number
encoder, vectors, packed_linear   the frozen encoder, and the vectors it makes once
feeding, batching   texts padded or packed into batches; which pairs share a step
packing, shared_prompts, last_layer, fast_paths   what need not be computed, and whether a model allows leaving it out
loss                what a step minimises
memory              how many tokens go through at once
determinism, lookups   the same bits on one GPU; what DeBERTa's look-ups need for that
scoring             where scores, margins and feature differences are computed
leading, sharding   scores over several ranks; a model in parts, one on each
on_workers          forward passes made by other processes
engine              where the models of a run are made and saved
tiny                random two-layer models for tests and dry runs
"""
