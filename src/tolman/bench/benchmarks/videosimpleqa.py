"""Video SimpleQA: short facts that a video leads to (1,504 chains of questions; the authors ask a judge)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "videosimpleqa", number, row["Multi_hop_Question"], row["Multi_hop_Answer"],
        clip=f"videos/{number}.mp4",
        answer_kind="text",
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="videosimpleqa", title="Video SimpleQA",
        citation="Cao et al., Video SimpleQA, arXiv 2503.18923", licence=SEE_SOURCE,
        source="VideoSimpleQA/VideoSimpleQA", files=("VideoSimpleQA.json",), clips="videos/", read=_read,
        prompt=ask(after=""), frames="32", sampling={"frames": 32}, max_new_tokens=128, kind=kind("text"),
        rules={},  # the authors ask a judge: strict is all there is here
    )
]  # fmt: skip
