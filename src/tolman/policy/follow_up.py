"""Sample what comes at the end of trees of any depth: a second completion behind a first one and what was
said and shown in between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .cache import Collected, make_level
from .decode import Prefix, check_layers, decode
from .forward import clip_features, hidden_states
from .generate import Sample, evaluating, to_samples
from .policy import Policy
from .sampling import Sampling
from .tree import Node, Packed, TokenTree, pack


@torch.no_grad()
def follow_up(
    policy: Policy,
    trees: Sequence[TokenTree],
    leaves: Sequence[tuple[int, int]],
    uniforms: Tensor,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
) -> list[Sample]:
    """One completion behind each leaf.

    leaves: (tree, node) pairs, none twice; the node has tokens. Any node on the way to it may hold a clip.
    uniforms: (leaves, tokens at most) as `draw_uniforms` makes them; sampling as in `generate`. Everything in
    the trees is computed once, and what a tree's root holds (the first clip) is held once for its leaves.
    Raises ValueError for uniforms of another shape, and as `generate`.
    """
    sampling = Sampling(temperature, top_p, top_k)
    if uniforms.ndim != 2 or len(uniforms) != len(leaves):
        raise ValueError(f"uniforms must be ({len(leaves)}, tokens), got {tuple(uniforms.shape)}")
    if not leaves:
        return []
    check_layers(policy.model)
    with evaluating(policy.model):
        prefix = _prefill(policy, trees, leaves)
        found = decode(policy.model, prefix, sampling, uniforms.to(policy.device), tuple(policy.stop_ids))
    return to_samples(policy, found, sampling)


def _prefill(policy: Policy, trees: Sequence[TokenTree], leaves: Sequence[tuple[int, int]]) -> Prefix:
    packed = pack(trees, policy.pad_id, policy.video_tokens)
    collected = Collected()
    model = policy.model
    states = hidden_states(model, packed, clip_features(model, packed.clips), cache=collected)
    roots: dict[tuple[int, int], int] = {}
    root_of, behind = [], []
    for row, leaf in leaves:
        root, *others = _way(trees[row].nodes, leaf)
        root_of.append(roots.setdefault((row, root), len(roots)))
        behind.append([place for node in others for place in _places(packed, row, node)])
    rows = [row for row, _ in leaves]
    beginnings = [_places(packed, row, root) for row, root in roots]
    parts: list[tuple[Sequence[Sequence[int]], list[int], list[int]]]  # paths, their rows, that of each leaf
    parts = [
        (beginnings, [row for row, _ in roots], root_of),
        (behind, rows, list(range(len(leaves)))),
    ]
    levels = [make_level(collected, of, paths, shared) for paths, of, shared in parts if any(paths)]
    last = torch.tensor([packed.spans[row][leaf][1] - 1 for row, leaf in leaves], device=states.device)
    ends = states[torch.tensor(rows, device=states.device), last]
    return Prefix(levels, ends, [packed.next_position[row][leaf] for row, leaf in leaves])


def _way(nodes: Sequence[Node], leaf: int) -> list[int]:
    """The nodes from the root to the leaf."""
    assert nodes[leaf].token_ids, "a leaf without tokens predicts nothing"
    way = [leaf]
    while (parent := nodes[way[0]].parent) is not None:
        way.insert(0, parent)
    return way


def _places(packed: Packed, row: int, node: int) -> range:
    """Places in the row of the node's tokens."""
    return range(*packed.spans[row][node])
