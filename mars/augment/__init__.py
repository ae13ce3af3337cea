"""What a variant of a text is, and one file for each way to make one.

variant       the protocol of an augmenter
named         which augmenters there are
mixture       several of them in one pool
eda, rules, planted, gaussian, paraphrase, instruct   the augmenters of `augmenter=NAME`
synonyms, words, build_synonyms   what eda and rules share
rules_table   the closed list of rules
generation, causal, paraphrase_settings   the model behind paraphrase
chat, chat_settings, chat_backends   asking a chat model, for instruct
"""
