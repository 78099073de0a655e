"""ReVSI: VSI-Bench annotated anew, one table per number of frames."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import DIRECT, SEE_SOURCE, ask, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, vlmevalkit
from tolman.questions.question import Question


def _prompt(question: Question) -> str:
    number = "Answer the question using a single integer or decimal number."
    return ask("These are frames of a video.", DIRECT if question.options else number, "Options:")(question)


def _read(number: int, row: Mapping[str, Any]) -> Question:
    options = row["options"] if row["options"] is not None and len(row["options"]) else None
    return question(
        "revsi", row.get("id", number), row["question"], row["ground_truth"], options=options,
        clip=f"all_frame/{row['scene_id']}.mp4", kind=row["question_type"], scene=row["scene_id"],
        answer_kind="choice" if options is not None else "numeric",
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="revsi", title="ReVSI", citation="the annotations of 3dlg-hcvc/ReVSI", licence=SEE_SOURCE,
        source="3dlg-hcvc/ReVSI", files=("all_frame/*.parquet", "*.parquet"), clips="video.zip", read=_read,
        prompt=_prompt, frames="16, 32, 64 or all, each with its own table",
        kind=lambda row: "choice" if row.get("options") else "numeric", official="vlmevalkit", macro=True,
        rules={
            "vlmevalkit": Rule(vlmevalkit.revsi, averages.revsi, "VSI-Bench's first word"),
        },
    )
]  # fmt: skip
