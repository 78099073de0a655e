"""Perception Test, multiple choice: memory, physics, abstraction and semantics."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "perceptiontest", f"{row['video_name']}/{row['question_id']}", row["question"], int(row["answer_id"]),
        options=row["options"], clip=f"videos/{row['video_name']}.mp4", kind=row["area"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="perceptiontest", title="Perception Test",
        citation="Patraucean et al., Perception Test, arXiv 2305.13786", licence=SEE_SOURCE,
        source="lmms-lab/PerceptionTest_Val", files=("mc_question_val/*.parquet", "mc_question_val.json"),
        clips="videos_chunked_*.zip", read=_read, prompt=ask(), frames="by model", kind=kind("choice"),
        chance=33.33, official="lmms_eval",
        rules={
            "lmms_eval": Rule(lmms_eval.perceptiontest, averages.by_type, "the first lone capital A to D"),
        },
    )
]  # fmt: skip
