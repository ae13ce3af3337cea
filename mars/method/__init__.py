"""The method: margins to budgets, strategies to rows, and the round loop that trains on them.

allocation   margins to whole budgets
strategy     what an arm is; MARS is one
loop         the rounds, on one screen
trainer, training, start   how a round trains, and what it starts from
optimizer    AdamW that starts at once
targets      what the loss makes of votes and strengths
state        what a run is resumed from
row_inputs   pool rows to model inputs
observer, hessian   curvature, recorded beside what a round did
logger, wandb_logger   the terminal; the W&B run
settings     `rounds.*` and `train.*`
"""
