"""NExT-QA: causal, temporal and descriptive questions with five options."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, mmmu
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "nextqa", f"{row['video']}/{row['qid']}", row["question"], int(row["answer"]),
        options=[row[f"a{k}"] for k in range(5)], clip=f"NExTVideo/{row['video']}.mp4", kind=row["type"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="nextqa", title="NExT-QA", citation="Xiao et al., NExT-QA, arXiv 2105.08276",
        licence=SEE_SOURCE, source="doc-doc/NExT-QA (GitHub)", files=("val.csv", "mc_val.csv", "test.csv",
        "MC/*.parquet"),
        clips="NExTVideo.zip", read=_read, prompt=ask(), frames="by model", kind=kind("choice"),
        chance=20.0, official="lmms_eval",
        rules={
            "lmms_eval": Rule(mmmu.drawing, averages.by_type, "MMMU's parser, else at random"),
        },
    )
]  # fmt: skip
