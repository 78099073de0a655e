"""MLVU: seven multiple-choice tasks on long video (2,174 questions in the dev part)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, video
from tolman.questions.question import Question

_BEFORE = (
    "Carefully watch this video and pay attention to every detail. Based on your observations, select the "
    "best option "
    "that accurately addresses the question."
)


def _read(number: int, row: Mapping[str, Any]) -> Question:
    texts = row["candidates"]
    return question(
        "mlvu", f"{row['question_type']}/{number}", row["question"], texts.index(row["answer"]),
        options=texts,
        clip=f"video/{row['_file']}/{row['video']}", kind=row["question_type"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="mlvu", title="MLVU", citation="Zhou et al., MLVU, arXiv 2406.04264", licence=SEE_SOURCE,
        source="MLVU/MVLU", files=("json/[1-7]_*.json", "[1-7]_*.json"), clips="video/", read=_read,
        prompt=ask(_BEFORE, "Only give the best option.", "Options:", "({letter}) {text}"),
        frames="by model", kind=kind("choice"), macro=True, published={"GPT-4o": 64.6},
        published_in="the repository's README (M-Avg, dev)",
        rules={
            "official": Rule(video.mlvu, averages.over_types, "the character before the first bracket"),
            "lmms_eval": Rule(lmms_eval.choice_abcd, averages.over_types,
                "the letter in the most trusted form"),
        },
    )
]  # fmt: skip
