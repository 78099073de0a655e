"""VSI-SUPER Count: how many of a thing in hours of joined rooms."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, video, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "vsisuper_count", row.get("id", number), row["question"], row["answer"], clip=row["video_path"],
        kind=row["split"],
        answer_kind="numeric",
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="vsisuper_count", title="VSI-SUPER Count",
        citation="Yang et al., Cambrian-S, arXiv 2511.04670", licence=SEE_SOURCE,
        source="nyu-visionx/VSI-SUPER-Count", files=("test.jsonl", "*.jsonl", "*.parquet"), clips="*.zip",
        read=_read,
        prompt=ask("These are frames of a video.",
        "Please answer the question using a single word or phrase."),
        frames="one a second", sampling={"fps": 1.0}, kind=kind("numeric"), official="official_fork",
        rules={
            "official_fork": Rule(video.vsisuper_count, averages.by_type,
                "Python's float of the whole answer"),
            "lmms_eval": Rule(lmms_eval.vsisuper_count, averages.by_type, "the first number"),
            "vlmevalkit": Rule(vlmevalkit.spatial_number, averages.by_type, "the last number"),
        },
    )
]  # fmt: skip
