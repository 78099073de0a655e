"""ActivityNet Captions: when a sentence is true of a video (4,885 videos)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench import unpack
from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import grounding
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "activitynet_tvg",
        number,
        row["sentence"],
        row["span"],
        clip=f"{row['video']}.mp4",
        answer_kind="span",
    )


BENCHMARKS = [
    Benchmark(
        name="activitynet_tvg", title="ActivityNet Captions", citation="Krishna et al., arXiv 1705.00754",
        licence=SEE_SOURCE, source="the ActivityNet Captions page", files=("val_2.json",),
        clips="the videos", unpack=unpack.by_sentence, read=_read,
        prompt=ask(grounding.ASKED, "Please return its start time and end time."), frames="by model",
        max_new_tokens=50, kind=kind("span"), official="time_r1",
        rules={name: Rule(one, grounding.recalls, said) for name, (one, said) in grounding.RULES.items()},
    )
]  # fmt: skip
