"""VideoMathQA: mathematics in video, five options or pairs of them."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "videomathqa", row["question_id"], row["question"], row["answer"], options=row["options"],
        clip=f"videos/{row['videoID']}.mp4", kind=row["category"], extra={"length": row["length"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="videomathqa", title="VideoMathQA", citation="Rasheed et al., VideoMathQA, arXiv 2506.05349",
        licence=SEE_SOURCE, source="MBZUAI/VideoMathQA",
        files=("videomathqa_mcq_test.parquet", "mcq/*.parquet", "*.json"), clips="videos/", read=_read,
        prompt=ask(), frames="by model", kind=kind("choice"), chance=20.0, official="lmms_eval",
        rules={
            "lmms_eval": Rule(lmms_eval.videomathqa, averages.by_type, "the first capital A to E anywhere"),
            "lmms_eval_mbin": Rule(lmms_eval.videomathqa, averages.pairs_right,
                "all pairs of a question right"),
        },
    )
]  # fmt: skip
