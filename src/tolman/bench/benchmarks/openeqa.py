"""OpenEQA: free answers about scanned homes (1,636 questions; the authors ask a judge)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, openeqa
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "openeqa", row["question_id"], row["question"], row["answer"],
        clip=f"frames/{row['episode_history']}", kind=row["category"], answer_kind="text",
        scene=row["episode_history"], extra={"extra_answers": row.get("extra_answers")},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="openeqa", title="OpenEQA", citation="Majumdar et al., OpenEQA, CVPR 2024", licence="MIT",
        source="facebookresearch/open-eqa (GitHub)", files=("open-eqa-v0.json",), clips="data/frames",
        read=_read, prompt=ask(after=""), frames="by model", max_new_tokens=128, kind=kind("text"),
        official="judge",
        rules={"judge": Rule(openeqa.unasked, averages.by_type, "a model marks 1 to 5", openeqa.marked)},
    )
]  # fmt: skip
