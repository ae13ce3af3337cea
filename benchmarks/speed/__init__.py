"""How fast it is, measured beside the usual way.

clock, machine, shapes     what measurements share: time, memory, backbones
training, ways, trl_trainer, training_table   beside TRL's trainer and a plain loop
compiling                  whether torch.compile repays
scoring, encoder           texts scored, and encoded
augmenters, writer, preservation   variants and replies: how fast, and how many keep their label
checkpoints, curvature     what these add to a run
launchers, ranks, ray      several processes
scale, sweeps, report      large corpora, sweeps and studies
plans                      whether a plan is right about time
device                     every check that needs a GPU
"""
