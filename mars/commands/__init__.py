"""Sub-commands that train nothing: what a file holds, what a machine can do, what a run did, how far a study is.

`mars.run` has their names and calls their `main`.

overview, completion   what `mars` alone shows, and what a shell completes
look, suggestion       what a file of preferences holds, and the command that trains on it
doctor, checks         what this machine can do
show, status           what an arm trained on, and how far a study is
cache                  what the cache holds, and what of it may go
printing               how those that print lines are called
"""
