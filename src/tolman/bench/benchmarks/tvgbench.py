"""TVGBench: 800 sentences to find in videos of five sources."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import grounding
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    span = [float(second) for second in row["answer"].split("-")]
    return question(
        "tvgbench", number, row["question"], span, clip=row["path"], kind=row["qsemtype"], answer_kind="span"
    )


BENCHMARKS = [
    Benchmark(
        name="tvgbench", title="TVGBench", citation="Wang et al., Time-R1, arXiv 2503.13377",
        licence=SEE_SOURCE, source="Boshenxx/TimeR1-Dataset", files=("tvgbench.json",), clips="the videos",
        read=_read, prompt=ask(grounding.ASKED, "Please return its start time and end time."),
        frames="by model", max_new_tokens=50, kind=kind("span"), official="time_r1",
        rules={name: Rule(one, grounding.recalls, said) for name, (one, said) in grounding.RULES.items()},
    )
]  # fmt: skip
