"""Other machines: a Ray cluster that is reached, found fit, and given work. Ray is imported where it is first used.

settings   the engine of a command: `engine=local|ray`
nodes      reaching a cluster, and what its nodes have
shards     work in shards over Ray Data, restartable
"""
