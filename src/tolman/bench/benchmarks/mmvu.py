"""MMVU: expert questions about lectures (625 with options, 375 open; the authors ask a judge)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval
from tolman.questions.question import Question

_AFTER = "Do not generate any intermediate reasoning process. Directly output the final answer."


def _read(number: int, row: Mapping[str, Any]) -> Question:
    choice = row["question_type"] == "multiple-choice"
    return question(
        "mmvu", row["id"], row["question"], row["answer"],
        options=row["choices"].values() if choice else None,
        clip=row["video"].split("/main/")[-1], kind=row["question_type"],
        answer_kind="choice" if choice else "text",
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="mmvu", title="MMVU", citation="Zhao et al., MMVU, arXiv 2501.12380", licence=SEE_SOURCE,
        source="yale-nlp/MMVU", files=("validation.json", "official_validation.json"), clips="videos/",
        read=_read, prompt=ask("Question:", _AFTER), frames="by model", max_new_tokens=1024,
        kind=lambda row: "choice" if row.get("options") else "text", chance=20.0,
        official="lmms_eval_rule_mc",
        rules={
            "lmms_eval_rule_mc": Rule(lmms_eval.mmvu_choice, averages.by_type,
                "the letter alone, or words of its text"),
        },
    )
]  # fmt: skip
