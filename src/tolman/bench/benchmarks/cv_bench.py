"""CV-Bench: counting, relations, depth and distance in photos (2,638 questions)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import DIRECT, SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import IN_TABLE, Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "cv_bench", row["idx"], row["question"], row["answer"].strip("()"), options=row["choices"],
        media="images",
        clip=f"images/{row['type']}_{row['idx']}", kind=row["task"], extra={"source": row["source"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="cv_bench", title="CV-Bench", citation="Tong et al., Cambrian-1, arXiv 2406.16860",
        licence=SEE_SOURCE, source="nyu-visionx/CV-Bench",
        files=("test_[23]d.parquet", "*.jsonl"), clips=IN_TABLE, read=_read,
        prompt=ask("Question:", DIRECT), frames="the images of a question", kind=kind("choice"),
        chance=42.49, official="lmms_eval",
        rules={
            "lmms_eval": Rule(lmms_eval.leading_letter, averages.cv_bench, "a leading letter"),
            "vlmevalkit_exact_matching": Rule(vlmevalkit.image_choice, averages.cv_bench, "without a judge"),
            "vlmevalkit": Rule(vlmevalkit.spatial_choice, averages.cv_bench, "seven steps"),
        },
    )
]  # fmt: skip
