"""How two policies' replies to the same prompts are judged against each other, and how far the judge can be believed.

settings             of a judgement
generations          files of replies (AlpacaEval's, .jsonl), paired by prompt
judge                what a judge is, and which there are
chat, wording        a chat model as judge, and the question it is asked
models, controls     a reward model and the planted gold as judges; what every judge stands beside
verdicts             every pair of replies shown in both orders: one table
winrate, clustered_shares   the table to win rate, position bias, agreement, with intervals
findings             what that means, in sentences and a table
record               the files of a judgement
simulate             whether the intervals hold what they promise
"""
