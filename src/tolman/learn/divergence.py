"""How far apart a group's completions are at each position: whole distributions, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tolman.learn.batching import ClipTree
from tolman.learn.loss.divergence import position_divergence
from tolman.policy.forward import hidden_states, logits
from tolman.policy.logprobs import token_predictors
from tolman.policy.policy import Policy
from tolman.policy.tree import pack

CHUNK_ELEMENTS = 2**24
"""Log-probabilities held at a time: 64 MiB of float32."""


@torch.no_grad()
def group_divergence(policy: Policy, clips: Sequence[ClipTree], temperature: float = 1.0) -> Tensor:
    """(N,) `position_divergence` at the position of every token of every completion, in the trees' order.

    A group is what hangs below one question. One forward pass; temperature as in `tree_scores_of`.
    """
    packed = pack([clip.tree for clip in clips], policy.pad_id, policy.video_tokens).to(policy.device)
    states = hidden_states(policy.model, packed)
    found: list[Tensor] = []
    for row, clip in enumerate(clips):
        of_node = {}
        for question in dict.fromkeys(clip.groups):
            nodes = [n for n, q in zip(clip.completion_nodes, clip.groups, strict=True) if q == question]
            parts = [states[row, token_predictors(packed, row, node)] for node in nodes]
            divergence_T = _of_group(policy, parts, temperature)
            of_node.update({n: divergence_T[: len(part)] for n, part in zip(nodes, parts, strict=True)})
        found += [of_node[node] for node in clip.completion_nodes]
    return torch.cat(found)


def _of_group(policy: Policy, states: Sequence[Tensor], temperature: float) -> Tensor:
    """(T,) of the completions whose tokens are predicted at states (T_g, hidden); T is the longest."""
    states_GTH = pad_sequence(list(states), batch_first=True)
    lengths_G = torch.tensor([len(part) for part in states], device=states_GTH.device)
    mask_GT = torch.arange(states_GTH.shape[1], device=states_GTH.device) < lengths_G[:, None]
    vocabulary = policy.model.get_output_embeddings().weight.shape[0]
    size = max(1, CHUNK_ELEMENTS // (vocabulary * len(states)))
    parts = []
    for some_GTH, some_mask_GT in zip(
        torch.split(states_GTH, size, 1), torch.split(mask_GT, size, 1), strict=True
    ):
        log_probs_GTV = torch.log_softmax(logits(policy.model, some_GTH) / temperature, dim=-1)
        parts.append(position_divergence(log_probs_GTV, some_mask_GT))
    return torch.cat(parts)
