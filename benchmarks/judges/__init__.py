"""How two policies' replies to the same prompts are judged against each other, and how far the judge can be believed.

generations         files of replies (AlpacaEval's, .jsonl), paired by prompt
judge               what a judge is, and which there are
chat, models, controls   the judges: a chat model; a reward model and the planted gold; what every judge stands beside
verdicts            every pair of replies shown in both orders: one table
winrate, clustered_shares   the table to win rate, position bias, agreement, with intervals
findings            what that means, in sentences and a table
record              the files of a judgement
simulate            whether the intervals hold what they promise
"""
