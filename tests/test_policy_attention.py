"""Every way a tree can attend gives the numbers of torch's attention with the whole boolean mask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from policy_tiny import noise_clip, tiny_policy
from tolman.policy import attention
from tolman.policy.forward import clip_features, hidden_states
from tolman.policy.prompt import opening_ids
from tolman.policy.tree import Packed, TokenTree, VideoTokens, pack

VIDEO = VideoTokens(video_token_id=9, merge=2, tokens_per_second=2)
GROUPS = SimpleNamespace(num_key_value_groups=2, is_causal=True, training=False)
"""What an attention module tells transformers' function: two query heads a key head."""


def random_tree(nodes: list[tuple[int, int]]) -> TokenTree:
    """Nodes by (length, parent), a parent of -1 or of none so far being no parent."""
    tree = TokenTree()
    for n, (length, parent) in enumerate(nodes):
        tree.add([1] * length, None if n == 0 or parent < 0 else parent % n)
    return tree


trees = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 5)), min_size=1, max_size=7).map(random_tree),
    min_size=1,
    max_size=3,
)


def inputs(packed: Packed, seed: int = 0) -> list[Tensor]:
    """Query of four heads, key and value of two, in float64."""
    batch, length = packed.seen_until.shape
    draw = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, heads, length, 8, generator=draw, dtype=torch.float64).requires_grad_()
        for heads in (4, 2, 2)
    ]


def run(parts: list[Tensor], mask: Any, tree_segments: Any) -> Tensor:
    """The registered function's output (B, L, H, D)."""
    out, _ = attention.attend_text(GROUPS, *parts, mask, scaling=0.3, tree_segments=tree_segments)
    return out


def test_segments_by_hand() -> None:
    #       clip 0 1   ├ question 2 ├ 3 4
    #                  │            └ 5
    #                  └ question 6 (its only child 7 8 goes on in the same segment)
    tree = TokenTree()
    root = tree.add([1, 1])
    asked, other = tree.add([1], root), tree.add([1], root)
    tree.add([1, 1], asked)
    tree.add([1], asked)
    tree.add([1, 1], other)
    longer = TokenTree()
    longer.add([1] * 12)
    packed = pack([tree, longer], 0, VIDEO)
    assert attention.segments(packed) == [
        [(0, 2, 9), (2, 3, 6), (3, 5, 5), (5, 6, 6), (6, 9, 9)],
        [(0, 12, 12)],
    ]


@settings(max_examples=10)
@given(trees)
def test_segments_of_bfloat16_are_computed_in_float32(forest: list[TokenTree]) -> None:
    """Only what goes in and comes out is rounded: torch's bfloat16 kernel rounds probabilities as well."""
    packed = pack(forest, 0, VIDEO)
    rounded = [part.detach().bfloat16() for part in inputs(packed)]
    found = []
    for kind in (torch.bfloat16, torch.float32):
        parts = [part.detach().to(kind).requires_grad_() for part in rounded]
        out = run(parts, None, attention.segments(packed))
        out.sum().backward()
        found.append([out, *(part.grad for part in parts)])
    (out, *gradients), (exact, *exact_gradients) = found
    assert torch.equal(out, exact.bfloat16())
    for one, other in zip(gradients, exact_gradients, strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.float(), other, rtol=2**-6, atol=2**-5)


@settings(max_examples=25)
@given(trees)
def test_segments_equal_the_whole_mask_with_gradients(forest: list[TokenTree]) -> None:
    packed = pack(forest, 0, VIDEO)
    is_token = torch.zeros(packed.seen_until.shape, dtype=torch.bool)
    for b, tree in enumerate(forest):
        is_token[b, : len(tree)] = True
    found = []
    for mask, tree_segments in ((packed.attention_mask, None), (None, attention.segments(packed))):
        parts = inputs(packed)
        out = run(parts, mask, tree_segments)[is_token]
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        (out * weights).sum().backward()
        found.append([out, *(part.grad for part in parts)])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@settings(max_examples=25)
@given(trees, st.sampled_from([2, 3, 4]))
def test_block_masks_equal_those_torch_makes_from_all_pairs(forest: list[TokenTree], block: int) -> None:
    packed = pack(forest, 0, VIDEO)
    until = packed.seen_until
    batch, length = until.shape

    def sees(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return packed.attention_mask[b, 0, query, key]

    ours = attention.block_mask(until, block)
    theirs = create_block_mask(sees, batch, None, length, length, device="cpu", BLOCK_SIZE=block)
    assert ours.shape == theirs.shape
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.to_dense(), theirs.to_dense())


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_equals_the_whole_mask() -> None:
    tree = random_tree([(40, -1), (30, 0), (50, 1), (20, 1), (35, 0), (60, 4)])
    packed = pack([tree, random_tree([(150, -1)])], 0, VIDEO)
    with torch.no_grad():
        parts = [part.float() for part in inputs(packed)]
        theirs = run(parts, packed.attention_mask, None)
        ours = run(parts, attention.block_mask(packed.seen_until), None)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_way_depends_on_device_and_length() -> None:
    assert attention.way_for(torch.device("cpu"), 10**6) == "segments"
    assert attention.way_for(torch.device("cuda"), attention.FLEX_FROM) == "flex"
    assert attention.way_for(torch.device("cuda"), attention.FLEX_FROM - 1) == "mask"
    assert attention.way_for(torch.device("mps"), 10**6) == "mask"


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_model_gives_the_same_states_in_each_way(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny_policy()
    clip = noise_clip(policy, 0)
    tree = TokenTree()
    root = tree.add(opening_ids(policy, clip), clip=clip)
    for start in (20, 40):
        asked = tree.add(range(start, start + 9), root)
        for length in (0, 1, 12):
            tree.add(range(60, 60 + length), asked)
    packed = pack([tree], policy.pad_id, policy.video_tokens)
    found = []
    with torch.no_grad():
        for way in ("segments", "mask", "flex"):
            monkeypatch.setattr(attention, "way_for", lambda device, length, way=way: way)
            found.append(hidden_states(policy.model, packed))
    for states in found[1:]:
        torch.testing.assert_close(states, found[0], rtol=1e-5, atol=1e-5)


def test_dropout_in_a_tree_is_refused() -> None:
    packed = pack([random_tree([(3, -1)])], 0, VIDEO)
    with pytest.raises(ValueError, match="dropout"):
        attention.attend_text(
            GROUPS, *inputs(packed), None, tree_segments=attention.segments(packed), dropout=0.1
        )


@pytest.mark.parametrize("lengths", [[4, 4, 4], [6, 2, 6, 3, 2], [5]])
def test_windows_equal_one_call_each(lengths: list[int]) -> None:
    bounds = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    draw = torch.Generator().manual_seed(0)
    found = []
    for at_once in (True, False):
        draw.manual_seed(0)
        parts = [torch.randn(1, 3, sum(lengths), 8, generator=draw).requires_grad_() for _ in range(3)]
        if at_once:
            out, _ = attention.attend_windows(None, *parts, None, scaling=0.5, cu_seq_lens_q=bounds)
        else:
            calls = zip(*(part.split(lengths, dim=2) for part in parts), strict=True)
            whole = torch.cat([F.scaled_dot_product_attention(*call, scale=0.5) for call in calls], dim=2)
            out = whole.transpose(1, 2)
        (out * torch.arange(out.numel()).view(out.shape)).sum().backward()
        found.append([out, *(part.grad for part in parts)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_the_tower_sees_all_windows_of_a_length_at_once_and_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # stock first: the name is changed by our own call. Windows of 4 x 4 tokens do not divide 2 x 3.
    policy = tiny_policy()
    policy.model.model.visual.fullatt_block_indexes = [1]
    clips = [noise_clip(policy, 0), noise_clip(policy, 1)]
    pixels, grid = torch.cat([clip.pixels for clip in clips]), torch.stack([clip.grid_thw for clip in clips])
    with torch.no_grad():
        stock = policy.model.model.get_video_features(pixels, grid).pooler_output
        calls = []
        plain = attention._attend_equal
        monkeypatch.setattr(attention, "_attend_equal", lambda *args: calls.append(1) or plain(*args))
        ours = clip_features(policy.model, clips)
    assert calls == [1, 1]  # two layers, one length in each
    for theirs, feature in zip(stock, ours, strict=True):
        torch.testing.assert_close(feature, theirs, rtol=1e-5, atol=1e-5)
