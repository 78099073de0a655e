"""BLINK: perception that people have at a glance (its spatial subtasks among 14)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import DIRECT, SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import IN_TABLE, Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "blink", row["idx"], row["question"], row["answer"].strip("()"), options=row["choices"],
        media="images",
        clip=f"images/{row['idx']}", kind=row["sub_task"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="blink", title="BLINK", citation="Fu et al., BLINK, arXiv 2404.12390", licence=SEE_SOURCE,
        source="BLINK-Benchmark/BLINK", files=("*/val*.parquet", "*.json"), clips=IN_TABLE,
        read=_read, prompt=ask("Question:", DIRECT), frames="the images of a question", kind=kind("choice"),
        official="lmms_eval", macro=True,
        rules={
            "lmms_eval": Rule(lmms_eval.leading_letter, averages.over_types, "a leading letter"),
            "vlmevalkit_exact_matching": Rule(vlmevalkit.image_choice, averages.over_types,
                "without a judge"),
            "vlmevalkit": Rule(vlmevalkit.spatial_choice, averages.over_types, "seven steps"),
        },
    )
]  # fmt: skip
