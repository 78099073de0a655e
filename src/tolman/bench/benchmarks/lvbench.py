"""LVBench: 1,549 questions about 103 videos of an hour."""

from collections.abc import Mapping
from typing import Any

from tolman.bench import unpack
from tolman.bench.asking import ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, video
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "lvbench", row["uid"], row["question"], row["answer"], clip=f"videos/{row['key']}.mp4",
        kind="/".join(row["question_type"]), extra={"time_reference": row["time_reference"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="lvbench", title="LVBench", citation="Wang et al., LVBench, arXiv 2406.08035",
        licence="CC BY-NC-SA 4.0", source="THUDM/LVBench", files=("video_info.meta.jsonl",),
        clips="the videos by scripts/download.sh", unpack=unpack.by_video, read=_read,
        prompt=ask(after="Answer the question with the option letter"), frames="by model",
        kind=kind("choice"), chance=25.0, official="official_polish",
        rules={
            "official_polish": Rule(video.lvbench, averages.by_type, "the first character"),
            "lmms_eval": Rule(lmms_eval.choice_abcd, averages.by_type, "the letter in the most trusted form"),
        },
    )
]  # fmt: skip
