"""Training a policy with a reward model, and what becomes of its replies: the benchmark `trained_policy`.

`settings` says how, `training` does it through TRL, `replies` samples and measures the policy as it goes, and `outcome`
makes numbers of what was measured.
"""
