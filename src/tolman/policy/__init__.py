"""Policies: load a vision-language model, build its prompts, score and sample completions as trees of tokens.

Start at `load.load_policy`, `prompt.build_prompt`, `generate.generate` and `logprobs.tree_log_probs`. This
file imports nothing, so that `tolman.policy.templates` and the like come without torch.
"""
