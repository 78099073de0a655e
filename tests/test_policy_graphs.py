"""What only a GPU runs, as far as it can be told without one: that a captured step waits for nothing, that
graphs are captured and replayed as steps would be taken, and what is compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import FailOnRecompileLimitHit

from policy_tiny import noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.policy import attention, decode
from tolman.policy.generate import Sample, _prefill, generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, build_prompt
from tolman.policy.sampling import Sampling


def prompts_of(policy: Policy) -> list[Prompt]:
    """Two questions about one clip and one about none."""
    clip = noise_clip(policy, 0)
    asked = (("How many chairs?", clip), ("Where?", clip), ("Why?", None))
    return [build_prompt(policy, question(text), shown, "map") for text, shown in asked]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", [tiny_policy, tiny_qwen3_policy])
@pytest.mark.parametrize("sampling", [Sampling(0.7, 0.9, 5), Sampling(0.0)])
def test_a_step_never_waits_for_the_device(
    make: Callable[[], Policy], dtype: torch.dtype, sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    # tensors without numbers: whatever asks for one raises, as it would in a captured graph
    policy = make()
    policy.model.to("meta", dtype)

    def features(model: Any, clips: Any) -> list[Tensor]:
        return [torch.empty((12, 64), dtype=dtype, device="meta") for _ in clips]

    monkeypatch.setattr("tolman.policy.generate.clip_features", features)
    uniforms = torch.empty((9, 20), dtype=torch.float64, device="meta")
    with torch.no_grad():
        prefix = _prefill(policy, prompts_of(policy), 3)
        rows = decode.Rows(policy.model, prefix, sampling, uniforms, (1, 2))
        for width in (4, 4, 20):
            rows.step(width)
    with pytest.raises((RuntimeError, NotImplementedError)):
        rows.found.tokens.tolist()


def test_graphs_are_replayed_as_steps_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    # a graph stands for the step that was asked for while it was captured; capturing takes no step
    policy = tiny_policy()
    draw = torch.Generator().manual_seed(3)
    whole = partial(generate, policy, prompts_of(policy), 3, max_new_tokens=24)
    plain = flat(whole(generator=draw, stop_ids=()))
    streams: list[Any] = []
    widths: list[int] = []
    graphs: list[SimpleNamespace] = []
    step = decode.Rows.step

    @contextmanager
    def capture(graph: SimpleNamespace, stream: Any) -> Iterator[None]:
        assert stream is streams[-1]
        graphs.append(graph)
        yield
        graphs.pop()

    def stepped(rows: decode.Rows, width: int) -> None:
        if graphs:
            widths.append(width)
            graphs[-1].replay = partial(step, rows, width)
        else:
            step(rows, width)

    def stream(device: Any = None) -> SimpleNamespace:
        streams.append(SimpleNamespace(device=device, wait_stream=lambda other: None))
        return streams[-1]

    for name, fake in {
        "Stream": stream, "CUDAGraph": SimpleNamespace, "graph": capture, "stream": lambda _: nullcontext(),
        "current_stream": lambda device: SimpleNamespace(wait_stream=lambda other: None),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, fake)
    for name, value in {"FIRST_WIDTH": 5, "GROWTH": 2, "CHECK_EVERY": 4}.items():
        monkeypatch.setattr(decode, name, value)
    monkeypatch.setattr(decode.Rows, "step", stepped)
    monkeypatch.setattr(decode, "_decode_compacting", decode._decode_in_graphs)
    same(flat(whole(generator=draw.manual_seed(3), stop_ids=())), plain)
    assert widths == [5, 10, 20, 24]  # of steps 3 to 5, 8 to 10, 13 to 20, 23: two are taken before each
    assert streams[0].device == policy.device  # not whichever device is the current one
    stops = {sample.token_ids[4] for sample in plain}
    widths.clear()
    same(flat(whole(generator=draw.manual_seed(3), stop_ids=stops)), [cut(one, stops) for one in plain])
    assert widths == [5]  # at step 8, the third of width 10, all have stopped


def flat(groups: list[list[Sample]]) -> list[Sample]:
    """All samples in order."""
    return [sample for group in groups for sample in group]


def cut(sample: Sample, stops: set[int]) -> Sample:
    """Up to the first stop."""
    end = next(k for k, token in enumerate(sample.token_ids) if token in stops) + 1
    return Sample(sample.token_ids[:end], "", sample.log_probs[:end], True)


def same(ours: list[Sample], theirs: list[Sample]) -> None:
    """Token for token."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.token_ids == other.token_ids
        torch.testing.assert_close(one.log_probs, other.log_probs, rtol=1e-4, atol=1e-4)


def test_flex_has_a_limit_of_its_own_and_ends_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # torch's way is to go on uncompiled, with all (L, L) scores
    kernels: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        kernels.append(torch._dynamo.config.recompile_limit)
        return graph.forward

    torch._dynamo.reset()
    attention._compiled_flex.cache_clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    monkeypatch.setattr(attention, "FLEX_KERNELS", 2)
    mask = attention.block_mask(torch.full((1, 40), 40))
    try:
        flex = attention._compiled_flex()
        parts = [torch.randn(1, heads, 40, 16) for heads in (4, 2, 2)]
        for dtype in (torch.float32, torch.bfloat16):
            flex(*(part.to(dtype) for part in parts), block_mask=mask, enable_gqa=True)
        assert kernels == [2, 2]
        with pytest.raises(FailOnRecompileLimitHit):
            flex(*(part.double() for part in parts), block_mask=mask, enable_gqa=True)
    finally:
        attention._compiled_flex.cache_clear()
        torch._dynamo.reset()


def test_windows_of_one_length_ask_the_device_nothing() -> None:
    query, key, value = (torch.empty((1, 3, 12, 8), device="meta") for _ in range(3))
    bounds = torch.empty(4, dtype=torch.int32, device="meta")
    found, _ = attention.attend_windows(None, query, key, value, None, cu_seq_lens_q=bounds, max_length_q=4)
    assert found.shape == (1, 12, 3, 8)
    with pytest.raises((RuntimeError, NotImplementedError)):  # of several lengths: which, only it knows
        attention.attend_windows(None, query, key, value, None, cu_seq_lens_q=bounds, max_length_q=5)
