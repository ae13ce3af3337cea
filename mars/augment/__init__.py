"""What a variant of a text is, and one file for each way to make one.

variant      the protocol of an augmenter
eda, rules, planted, gaussian, paraphrase, instruct   the augmenters of `augmenter=NAME`
synonyms, words, build_synonyms   what eda and rules share
generation   the model behind paraphrase
chat, chat_backends   asking a chat model, for instruct
"""
