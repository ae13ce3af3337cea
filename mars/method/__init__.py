"""The method: margins to budgets, strategies to rows, and the round loop that trains on them.

allocation             margins to whole budgets
strategy               what an arm is; MARS is one
loop, clock            the rounds, on one screen, and where their seconds go
trainer, training, passes, start   how a round trains, and what it starts from
optimizer, randomness  AdamW that starts at once; the states of random generators
targets                what the loss makes of votes and strengths
measure                what fits a GPU
best                   the model to judge by, where it is not the last
state, checkpoint, journal   what a run is resumed from
row_inputs             pool rows to model inputs
observer, hessian      curvature, recorded beside what a round did
logger, wandb_logger   the terminal; the W&B run
settings               `rounds.*` and `train.*`
"""
