"""Sample completions: every clip and every question is computed once, then G rows decode from each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .forward import clip_features, hidden_states, logits
from .policy import Policy
from .prompt import Prompt
from .sampling import Sampling, pick
from .tree import Packed, TokenTree, pack

COMPACT_AT = 0.25
"""Finished rows are dropped from the batch once they are this share of it: the copy then pays within a few
steps."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One completion.

    token_ids: the stop token last where it came. text: without special tokens. log_probs: (T,) float32 on the
    CPU, of the distribution each token was drawn from (after temperature, top-k and top-p; zeros for greedy).
    finished: True where a stop token ended it, False where max_new_tokens did.
    """

    token_ids: tuple[int, ...]
    text: str
    log_probs: Tensor
    finished: bool


class KeyValues:
    """Keys and values of every layer in buffers allocated once; what the language model calls its cache."""

    def __init__(self, keys: list[Tensor], values: list[Tensor], length: int) -> None:
        self.keys, self.values, self.length = keys, values, length

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write (rows, heads, n, head_dim) behind the first `length` and return all so far; `advance` moves
        on."""
        end = self.length + keys.shape[2]
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def get_seq_length(self, layer: int = 0) -> int:
        """Tokens held."""
        return self.length

    def keep(self, rows: Tensor) -> None:
        """Drop all other rows."""
        self.keys = [part[rows] for part in self.keys]
        self.values = [part[rows] for part in self.values]


class _Collected:
    """A cache for the prefill: keeps what each layer computed."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        assert layer == len(self.keys)
        self.keys.append(keys)
        self.values.append(values)
        return keys, values

    def get_seq_length(self, layer: int = 0) -> int:
        """Nothing came before."""
        return 0


@dataclass
class _Start:
    """Where decoding starts, one row a completion: cache, additive mask (R, 1, 1, capacity), the last hidden
    state (R, hidden) and the next rotary position (R,)."""

    cache: KeyValues
    mask: Tensor
    states: Tensor
    positions: Tensor


@torch.no_grad()
def generate(
    policy: Policy,
    prompts: Sequence[Prompt],
    group: int,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    generator: torch.Generator | None = None,
    stop_ids: Collection[int] | None = None,
) -> list[list[Sample]]:
    """`group` completions of each prompt.

    temperature: 0 is greedy. top_p: keep the likeliest tokens up to this mass (1 = all). top_k: keep this
    many (0 = all). generator: the only randomness; the same state gives the same samples, and a row's samples
    do not depend on when others finish. stop_ids: the policy's own where None. Prompts whose `clip` is the
    same object share one pass of it through both towers. Raises ValueError for values outside these ranges.
    """
    sampling = Sampling(temperature, top_p, top_k)
    if group < 1 or max_new_tokens < 1:
        raise ValueError(f"group and max_new_tokens must be at least 1, got {group} and {max_new_tokens}")
    if not prompts:
        return []
    stops = tuple(policy.stop_ids if stop_ids is None else stop_ids)
    model = policy.model
    rows = len(prompts) * group
    device = generator.device if generator is not None else torch.device("cpu")
    uniforms = torch.rand((rows, max_new_tokens), generator=generator, dtype=torch.float64, device=device)
    with _evaluating(model):
        start = _prefill(policy, prompts, group, max_new_tokens)
        tokens, log_probs, lengths, done = _decode(model, start, sampling, uniforms.to(model.device), stops)
    texts = policy.tokenizer.batch_decode(
        [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True)], skip_special_tokens=True
    )
    samples = [
        Sample(tuple(tokens[r, :n].tolist()), texts[r], log_probs[r, :n].clone(), bool(done[r]))
        for r, n in enumerate(lengths)
    ]
    return [samples[p * group : (p + 1) * group] for p in range(len(prompts))]


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode: in training mode, gradient checkpointing would silently drop the cache."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _prefill(policy: Policy, prompts: Sequence[Prompt], group: int, room: int) -> _Start:
    """Run clips and questions as trees, then lay each prompt's keys and values out, padded left, `group`
    times."""
    packed, places = _pack_prompts(policy, prompts)
    collected = _Collected()
    model = policy.model
    states = hidden_states(model, packed, clip_features(model, packed.clips), cache=collected)
    paths = [_path(packed, row, nodes) for row, nodes in places]
    width = max(len(path) for path in paths)
    device = states.device
    gather = torch.tensor([[0] * (width - len(path)) + path for path in paths], device=device)
    row = torch.tensor([row for row, _ in places], device=device)
    keys, values = (
        [_laid_out(part, row, gather, group, room) for part in parts]
        for parts in (collected.keys, collected.values)
    )
    mask = torch.zeros((len(prompts), 1, 1, width + room), dtype=states.dtype, device=device)
    for p, path in enumerate(paths):
        mask[p, ..., : width - len(path)] = -torch.inf
    positions = torch.tensor([packed.next_position[r][nodes[-1]] for r, nodes in places], device=device)
    return _Start(
        KeyValues(keys, values, width),
        mask.repeat_interleave(group, 0),
        states[row, gather[:, -1]].repeat_interleave(group, 0),
        positions.repeat_interleave(group, 0),
    )


def _pack_prompts(
    policy: Policy, prompts: Sequence[Prompt]
) -> tuple[Packed, list[tuple[int, tuple[int, int]]]]:
    """One tree per distinct clip node; where each prompt lies: (row, (clip node, question node))."""
    trees: list[TokenTree] = []
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    places = []
    for prompt in prompts:
        if not prompt.clip_ids and not prompt.question_ids:
            raise ValueError("a prompt needs at least one token to continue from, got none")
        key = (id(prompt.clip), prompt.clip_ids)
        if key in known:
            row = known[key]
            nodes = prompt.add_to(trees[row], clip_node=0)
        else:
            row = known[key] = len(trees)
            trees.append(TokenTree())
            nodes = prompt.add_to(trees[row])
        places.append((row, nodes))
    return pack(trees, policy.pad_id, policy.video_tokens), places


def _path(packed: Packed, row: int, nodes: tuple[int, int]) -> list[int]:
    """Places in the row of the tokens of these nodes, in order."""
    return [place for node in nodes for place in range(*packed.spans[row][node])]


def _laid_out(part: Tensor, row: Tensor, gather: Tensor, group: int, room: int) -> Tensor:
    """(P * group, heads, width + room, head_dim) from one layer's packed (B, heads, L, head_dim)."""
    prompts, width = gather.shape
    picked = part.transpose(1, 2)[row[:, None], gather].transpose(1, 2)
    out = part.new_zeros((prompts * group, part.shape[1], width + room, part.shape[3]))
    out[:, :, :width] = picked.repeat_interleave(group, 0)
    return out


def _decode(
    model: Any, start: _Start, sampling: Sampling, uniforms: Tensor, stops: tuple[int, ...]
) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Tokens (R, max), log-probabilities (R, max), lengths and finished flags, on the CPU."""
    rows, steps = uniforms.shape
    device = uniforms.device
    tokens = torch.zeros((rows, steps), dtype=torch.long, device=device)
    log_probs = torch.zeros((rows, steps), dtype=torch.float32, device=device)
    lengths = torch.full((rows,), steps, dtype=torch.long, device=device)
    stop = torch.tensor(stops, dtype=torch.long, device=device)
    alive = torch.arange(rows, device=device)
    finished = torch.zeros(rows, dtype=torch.bool, device=device)
    cache, mask, states, positions = start.cache, start.mask, start.states, start.positions
    for step in range(steps):
        picked, picked_log_probs = pick(logits(model, states), sampling, uniforms[alive, step])
        tokens[alive, step], log_probs[alive, step] = picked, picked_log_probs
        stopped = torch.isin(picked, stop) & ~finished[alive]
        lengths[alive[stopped]] = step + 1
        finished[alive[stopped]] = True
        running = ~finished[alive]
        left = int(running.sum())
        if left == 0 or step + 1 == steps:
            break
        if left <= (1 - COMPACT_AT) * len(alive):
            cache.keep(running)
            alive, mask, picked, positions = (
                alive[running],
                mask[running],
                picked[running],
                positions[running],
            )
        states = _step(model, picked, positions + step, mask, cache)
    return tokens.cpu(), log_probs.cpu(), lengths.tolist(), finished.cpu()


def _step(model: Any, tokens: Tensor, positions: Tensor, mask: Tensor, cache: KeyValues) -> Tensor:
    """Feed one token (R,) a row at these positions (R,) and return the last hidden states (R, hidden)."""
    output = model.model.language_model(
        inputs_embeds=model.get_input_embeddings()(tokens[:, None]),
        position_ids=positions[None, :, None].expand(3, -1, 1),
        attention_mask={"full_attention": mask[..., : cache.length + 1]},
        past_key_values=cache,
        use_cache=True,
    )
    cache.length += 1
    states: Tensor = output.last_hidden_state
    return states[:, 0]
