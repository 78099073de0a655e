"""Sample completions: every clip and every question is computed once and held once, then G rows decode from
each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .cache import Collected, make_level
from .decode import Decoded, Prefix, check_layers, decode
from .forward import clip_features, hidden_states
from .policy import Policy
from .prompt import Prompt
from .sampling import Sampling
from .tree import Packed, TokenTree, pack


@dataclass(frozen=True, eq=False)
class Sample:
    """One completion.

    token_ids: the stop token last where it came. text: without special tokens. log_probs: (T,) float32 on the
    CPU, of the distribution each token was drawn from (after temperature, top-k and top-p; zeros for greedy).
    finished: True where a stop token ended it, False where max_new_tokens did. full_log_probs: (T,) of the
    same tokens before top-k and top-p, as a loss sees them; None where neither took anything away.
    """

    token_ids: tuple[int, ...]
    text: str
    log_probs: Tensor
    finished: bool
    full_log_probs: Tensor | None = None

    @property
    def as_trained(self) -> Tensor:
        """(T,) log-probabilities that a loss compares with: before top-k and top-p."""
        return self.log_probs if self.full_log_probs is None else self.full_log_probs


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
    uniforms: Tensor | None = None,
    stop_ids: Collection[int] | None = None,
) -> list[list[Sample]]:
    """`group` completions of each prompt.

    temperature: 0 is greedy. top_p: keep the likeliest tokens up to this mass (1 = all). top_k: keep this
    many (0 = all). generator: the only randomness; the same state gives the same samples, and a row's samples
    do not depend on when others finish. uniforms: `draw_uniforms` for these prompts, in place of drawing them
    from the generator. stop_ids: the policy's own where None. Prompts whose `clip` is the same object share
    one pass of it through both towers. Raises ValueError for values outside these ranges and for a model that
    `decode.check_layers` does not know.
    """
    sampling = Sampling(temperature, top_p, top_k)
    if group < 1 or max_new_tokens < 1:
        raise ValueError(f"group and max_new_tokens must be at least 1, got {group} and {max_new_tokens}")
    if not prompts:
        return []
    check_layers(policy.model)
    stops = tuple(policy.stop_ids if stop_ids is None else stop_ids)
    if uniforms is None:
        uniforms = draw_uniforms(len(prompts), group, max_new_tokens, generator)
    if uniforms.shape != (len(prompts) * group, max_new_tokens):
        raise ValueError(
            f"uniforms must be {(len(prompts) * group, max_new_tokens)}, got {tuple(uniforms.shape)}"
        )
    with evaluating(policy.model):
        prefix = _prefill(policy, prompts, group)
        found = decode(policy.model, prefix, sampling, uniforms.to(policy.device), stops)
    samples = to_samples(policy, found, sampling)
    return [samples[p * group : (p + 1) * group] for p in range(len(prompts))]


def to_samples(policy: Policy, found: Decoded, sampling: Sampling) -> list[Sample]:
    """What was decoded, row by row."""
    lengths = found.lengths.tolist()
    ids = [tuple(row[:n]) for row, n in zip(found.tokens.tolist(), lengths, strict=True)]
    texts = policy.tokenizer.batch_decode(ids, skip_special_tokens=True)
    samples = []
    for r, n in enumerate(lengths):
        full = found.full_log_probs[r, :n].clone() if sampling.truncates else None
        samples.append(
            Sample(ids[r], texts[r], found.log_probs[r, :n].clone(), bool(found.finished[r]), full)
        )
    return samples


def draw_uniforms(
    prompts: int, group: int, max_new_tokens: int, generator: torch.Generator | None = None
) -> Tensor:
    """(prompts * group, max_new_tokens) float64 in [0, 1): what `generate` turns into tokens, a prompt's rows
    one after another."""
    device = generator.device if generator is not None else torch.device("cpu")
    shape = (prompts * group, max_new_tokens)
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=device)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode: in training mode, gradient checkpointing would silently drop the cache."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _prefill(policy: Policy, prompts: Sequence[Prompt], group: int) -> Prefix:
    """Run clips and questions as trees; take out their keys and values, those of a clip once for all its
    questions, those of a question once for its group."""
    packed, places = _pack_prompts(policy, prompts)
    collected = Collected()
    model = policy.model
    states = hidden_states(model, packed, clip_features(model, packed.clips), cache=collected)
    rows = [row for row, _ in places]
    questions = [_places(packed, row, node) for row, (_, node) in places]
    # a clip's node, or the last of several images': all that is in its row up to its end
    clips = {row: list(range(packed.spans[row][node][1])) for row, (node, _) in places}
    last = torch.tensor([(question or clips[row])[-1] for row, question in zip(rows, questions, strict=True)])
    parts: list[tuple[list[list[int]], list[int], Sequence[int]]]  # paths, their rows, node of each prompt
    if len(clips) == len(prompts):  # nothing to share between questions: one level is quicker than two
        paths = [clips[row] + question for row, question in zip(rows, questions, strict=True)]
        parts = [(paths, rows, range(len(prompts)))]
    else:
        parts = [(list(clips.values()), list(clips), rows), (questions, rows, range(len(prompts)))]
    levels = [
        make_level(collected, of_rows, paths, [node for node in nodes for _ in range(group)])
        for paths, of_rows, nodes in parts
        if any(paths)
    ]
    starts = [packed.next_position[row][node] for row, (_, node) in places for _ in range(group)]
    ends = states[torch.tensor(rows, device=states.device), last.to(states.device)]
    return Prefix(levels, ends.repeat_interleave(group, 0), starts)


def _pack_prompts(
    policy: Policy, prompts: Sequence[Prompt]
) -> tuple[Packed, list[tuple[int, tuple[int, int]]]]:
    """One tree per distinct clip, or images; where each prompt lies: (row, (clip node, question node))."""
    trees: list[TokenTree] = []
    known: dict[tuple[Any, ...], tuple[int, int]] = {}
    places = []
    for prompt in prompts:
        if not prompt.clip_ids and not prompt.question_ids:
            raise ValueError("a prompt needs at least one token to continue from, got none")
        images = tuple((id(image), ids) for ids, image in prompt.earlier)
        key = (images, id(prompt.clip), prompt.clip_ids)
        if key in known:
            row, clip_node = known[key]
            nodes = prompt.add_to(trees[row], clip_node=clip_node)
        else:
            row = len(trees)
            trees.append(TokenTree())
            nodes = prompt.add_to(trees[row])
            known[key] = (row, nodes[0])
        places.append((row, nodes))
    return pack(trees, policy.pad_id, policy.video_tokens), places


def _places(packed: Packed, row: int, node: int) -> list[int]:
    """Places in the row of the node's tokens, in order."""
    return list(range(*packed.spans[row][node]))
