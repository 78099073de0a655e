"""Ego-ST: routes, landmarks and directions from a walk, forwards and backwards (630 with options)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, video
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "egost", number, row["problem"], row["original_answer"], clip=row["video"].split("Ego-ST-bench/")[-1],
        kind=row.get("question_type", ""),
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="egost", title="Ego-ST", citation="Wu et al., ST-Think, arXiv 2503.12542", licence=SEE_SOURCE,
        source="openinterx/Ego-ST-bench", files=("total_test_mcq_630.jsonl",), clips="r1_video/",
        read=_read, prompt=ask(after=""), frames="by model", max_new_tokens=1024, kind=kind("choice"),
        rules={
            "official": Rule(video.exact_text, averages.by_type, "the letter in the tag, as it is"),
        },
    )
]  # fmt: skip
