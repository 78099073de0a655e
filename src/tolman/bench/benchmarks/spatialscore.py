"""SpatialScore: twelve spatial benchmarks in one (28,093 questions)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, spatialscore
from tolman.questions.question import Question


def _kind(row: Mapping[str, Any]) -> str:
    kinds = {"multi-choice": "choice", "judgment": "yes or no"}
    if row.get("source") == "RealWorldQA" and row["question_type"] not in kinds:
        return "text"
    return kinds.get(row["question_type"], "numeric")


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "spatialscore", row["id"], row["question"], row["answer"], media="images",
        clip="|".join(row["img_paths"]), kind=row["question_type"], answer_kind=_kind(row),
        extra={"source": row["source"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="spatialscore", title="SpatialScore", citation="Wu et al., SpatialScore, arXiv 2505.17012",
        licence=SEE_SOURCE, source="haoningwu/SpatialScore",
        files=("SpatialScore.json", "SpatialScore.parquet"), clips="images of the twelve", read=_read,
        prompt=spatialscore.prompt, frames="all images of a question", max_new_tokens=1024, kind=_kind,
        rules={
            "official": Rule(spatialscore.official, averages.micro("source", "question_type"),
                "down to any letter of the text"),
        },
    )
]  # fmt: skip
