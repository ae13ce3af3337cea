"""The reward model, one question a module.

backbone   where its weights come from, and how text reaches them (settings)
model      what it is: a backbone with one scalar head, or a linear head on frozen features
tokens, features   what a rendered text becomes: token ids, or a cached vector
texts      dialogues rendered, registered once, and then known by number
scoring    where scores, margins and feature differences are computed
engine     where the models of a run are made and saved
batching, loss     which pairs share a step, and what a step minimises
tiny       random two-layer models for tests and dry runs
"""
