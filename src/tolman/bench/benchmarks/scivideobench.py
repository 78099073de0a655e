"""SciVideoBench: research video, ten options."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    options = row["options"]
    return question(
        "scivideobench", row.get("question_id", number), row["question"], row["answer"],
        options=options.values() if isinstance(options, dict) else options,
        clip=f"jove_{row['video_id']}.mp4",
        kind=row["question_type"], extra={"category": row.get("category")},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="scivideobench", title="SciVideoBench",
        citation="Deng et al., SciVideoBench, arXiv 2510.08559", licence=SEE_SOURCE,
        source="groundmore/scivideobench", files=("scivideobench_1k.jsonl", "*.jsonl", "*.parquet"),
        clips="jove_*.mp4", read=_read, prompt=ask(), frames="by model", kind=kind("choice"), chance=10.0,
        official="lmms_eval_official",
        rules={
            "lmms_eval_official": Rule(lmms_eval.scivideobench, averages.by_type,
                "first capital A to L, else at random"),
        },
    )
]  # fmt: skip
