"""DSI-Bench: motion of camera and objects, each clip also mirrored and reversed."""

import re
from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, spatial
from tolman.questions.question import Question

_BEFORE = (
    "You are a vision-language expert. You are given a clip of video and your task is to answer a question "
    "about the "
    "video. Please answer the question in this format strictly: <answer>[A, B, C, or D]</answer>"
)


def _read(number: int, row: Mapping[str, Any]) -> Question:
    options = re.split(r"\s*[A-D][.)]\s*", row["options"])[1:]
    return question(
        "dsi_bench", f"{row['_file']}/{number}", row["question"], row["GT"], options=options,
        clip=f"videos/{row['_file']}/{row['relative_path']}",
        kind=row["cate"], extra={"aug": row["_file"], "group": number},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="dsi_bench", title="DSI-Bench", citation="Zhang et al., DSI-Bench, arXiv 2510.18873",
        licence=SEE_SOURCE, source="Viglong/DSI-Bench", files=("metadatas/*.csv", "*.csv"), clips="videos/",
        read=_read, prompt=ask(_BEFORE, ""), frames="5 a second", sampling={"fps": 5.0}, max_new_tokens=2048,
        kind=kind("choice"),
        chance=25.0,
        rules={
            "official": Rule(spatial.dsi, averages.dsi_bench, "only a well-formed <answer>X</answer>"),
            "official_aggregation": Rule(spatial.dsi_read, averages.dsi_bench, "letters already read"),
        },
    )
]  # fmt: skip
