"""VSI-SUPER Recall: in which order an odd thing was seen in hours of video."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "vsisuper_recall", row.get("id", number), row["question"], row["answer"], options=row["options"],
        clip=row["video_path"], kind=row["split"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="vsisuper_recall", title="VSI-SUPER Recall",
        citation="Yang et al., Cambrian-S, arXiv 2511.04670", licence=SEE_SOURCE,
        source="nyu-visionx/VSI-SUPER-Recall", files=("test.jsonl", "*.jsonl", "*.parquet"), clips="*.zip",
        read=_read, prompt=ask("These are frames of a video.", options="Options:"), frames="one a second",
        sampling={"fps": 1.0},
        kind=kind("choice"), chance=25.0, official="vlmevalkit",
        rules={
            "vlmevalkit": Rule(vlmevalkit.spatial_choice, averages.by_type, "seven steps"),
        },
    )
]  # fmt: skip
