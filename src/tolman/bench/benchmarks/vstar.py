"""V-STaR: when and where what is asked about is seen (what needs a judge)."""

import json
from collections.abc import Mapping
from typing import Any

from tolman.bench import unpack
from tolman.bench.asking import SEE_SOURCE, ask, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, grounding
from tolman.questions.question import Question

_KINDS = {"when": "span", "where": "boxes"}
_FIELD = {"when": "temporal", "where": "spatial"}


def _read(number: int, row: Mapping[str, Any]) -> Question:
    kind, answer = row["_asked"], row["timestamps"] if row["_asked"] == "when" else row["bboxes"]
    return question(
        "vstar", f"{row['vid']}/{number}/{kind}", row[f"{_FIELD[kind]}_question"], json.dumps(answer),
        clip=f"videos/{row['vid']}.mp4", kind=kind, answer_kind=_KINDS[kind],
        extra={"domain": row.get("domain")},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="vstar", title="V-STaR", citation="Cheng et al., V-STaR, arXiv 2503.11495", licence=SEE_SOURCE,
        source="V-STaR-Bench/V-STaR", files=("V_STaR_test.json", "*.json"), clips="videos/",
        unpack=unpack.when_and_where, read=_read,
        prompt=ask("Answer the question about the video:", "Output the start and end moment timestamps."),
        frames="one a second", sampling={"fps": 1.0}, max_new_tokens=2048,
        kind=lambda row: _KINDS[row["question_type"]],
        official="official_when_where",
        rules={
            "official_when_where": Rule(grounding.vstar, averages.vstar, "overlap of spans and of boxes"),
        },
    )
]  # fmt: skip
