"""MMSI-Bench: several images, eleven kinds of spatial questions (1,000)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import DIRECT, SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import IN_TABLE, Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, spatial, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "mmsi_bench", row["id"], row["question"], row["answer"], clip=f"images/{row['id']}",
        kind=row["question_type"],
        media="images",
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="mmsi_bench", title="MMSI-Bench", citation="Yang et al., MMSI-Bench, arXiv 2505.23764",
        licence=SEE_SOURCE, source="RunsenXu/MMSI-Bench",
        files=("MMSI_Bench.parquet", "*.parquet", "MMSI_bench.tsv"), clips=IN_TABLE, read=_read,
        prompt=ask(after=DIRECT + " Enclose the option's letter within ``."),
        frames="all images of a question", kind=kind("choice"), chance=25.0,
        published={"human": 97.2, "o3": 41.0, "Qwen2.5-VL-7B": 25.9},
        published_in="the repository's README",
        rules={
            "official": Rule(spatial.mmsi, averages.by_type, "a lone capital, in back ticks if any"),
            "lmms_eval": Rule(lmms_eval.mmsi, averages.by_type, "the same, A to F in either case"),
            "vlmevalkit": Rule(vlmevalkit.spatial_choice, averages.by_type, "seven steps"),
        },
    )
]  # fmt: skip
