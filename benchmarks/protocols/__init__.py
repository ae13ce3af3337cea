"""The benchmarks, one file each: the module's name is what conf/benchmark/NAME.yaml calls it by.

Each module holds a `benchmarks.protocol.Benchmark` and names it `BENCHMARK`. The folder is listed, not imported: a new
file and its conf file are all that a new benchmark needs (`benchmarks.registry`).
"""
