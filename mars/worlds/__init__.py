"""Generated preferences whose truth is known: `planted` in words, `gaussian` in features alone.

planted, gaussian    the two worlds, as datasets
planted_settings     settings, splits and ids of the planted world
planted_world        topics, facts and tips
planted_latents      what a response is before it is put into words, and its reward
planted_words, planted_phrases   latents to words, and words found again in a damaged text
planted_candidates   replies to a question whose gold reward is known
"""
