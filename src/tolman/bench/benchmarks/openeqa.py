"""OpenEQA: free answers about scanned homes (1,636 questions; the authors ask a judge)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import ask, kind, question
from tolman.bench.benchmark import Benchmark
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "openeqa", row["question_id"], row["question"], row["answer"],
        clip=f"frames/{row['episode_history']}",
        kind=row["category"], answer_kind="text", scene=row["episode_history"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="openeqa", title="OpenEQA", citation="Majumdar et al., OpenEQA, CVPR 2024", licence="MIT",
        source="facebookresearch/open-eqa (GitHub)", files=("open-eqa-v0.json",), clips="data/frames",
        read=_read, prompt=ask(after=""), frames="by model", max_new_tokens=128, kind=kind("text"),
        rules={},  # the authors ask a judge: strict is all there is here
    )
]  # fmt: skip
