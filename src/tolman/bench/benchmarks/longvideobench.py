"""LongVideoBench: questions that refer to a moment of a long video (1,337 in the public part)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, spacer_eval, vlmevalkit
from tolman.questions.question import Question

_AVERAGE = averages.micro("question_type", "duration_group")


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "longvideobench", row["id"], row["question"], int(row["correct_choice"]), options=row["candidates"],
        clip=f"videos/{row['video_path']}", kind=row["question_category"],
        extra={"duration_group": row["duration_group"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="longvideobench", title="LongVideoBench", citation="Wu et al., LongVideoBench, arXiv 2407.15754",
        licence="CC BY-NC-SA 4.0", source="longvideobench/LongVideoBench", files=("lvb_val.json",),
        clips="videos.tar.part.*", read=_read, prompt=ask(), max_new_tokens=32, kind=kind("choice"),
        chance=21.33, published={"EARL-7B": 59.8}, published_in="EARL (Select Less, Reason More), abstract",
        frames="by model; 16 with subtitles between them for image models", official="lmms_eval_official",
        rules={
            "lmms_eval_official": Rule(lmms_eval.longvideobench, _AVERAGE,
                "first capital A to E, else at random"),
            "vlmevalkit_exact_matching": Rule(vlmevalkit.longvideobench, _AVERAGE, "first capital A to E"),
            "spacer_eval_thinking": Rule(spacer_eval.longvideobench, _AVERAGE,
                "first capital A to E, in the tag"),
        },
    )
]  # fmt: skip
