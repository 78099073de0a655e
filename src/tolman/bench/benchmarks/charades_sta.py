"""Charades-STA: when a sentence is true of a home video (3,720 pairs in the test part)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench import unpack
from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import grounding
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "charades_sta", number, row["sentence"], row["span"], clip=f"{row['video']}.mp4", answer_kind="span"
    )


BENCHMARKS = [
    Benchmark(
        name="charades_sta", title="Charades-STA", citation="Gao et al., TALL, arXiv 1705.02101",
        licence=SEE_SOURCE, source="lmms-lab/charades_sta", files=("charades_test.json",
        "data/test*.parquet"),
        clips="Charades_v1_480_part_*.zip", unpack=unpack.by_sentence, read=_read,
        prompt=ask(grounding.ASKED, "Please return its start time and end time."), frames="by model",
        max_new_tokens=50, kind=kind("span"), official="lmms_eval",
        rules={name: Rule(one, grounding.recalls, said) for name, (one, said) in grounding.RULES.items()},
    )
]  # fmt: skip
