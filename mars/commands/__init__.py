"""Sub-commands that train nothing: what a file holds, what a machine can do, what a run did, how far a study is.

`mars.run` has their names and calls their `main`. Beside them what `mars` alone shows, what a shell completes, and the
checks that `doctor` makes.
"""
