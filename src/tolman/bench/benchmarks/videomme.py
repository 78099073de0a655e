"""Video-MME: 2,700 questions about 900 videos, short to long."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, official, spacer_eval, vlmevalkit
from tolman.questions.question import Question

_FIELDS = ("duration", "domain", "sub_category", "task_type")
_ASKED = (
    "Select the best answer to the following multiple-choice question based on the video. Respond with only "
    "the letter (A, B, C, or D) of the correct option."
)
_AVERAGE = averages.micro("question_type", "duration")


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "videomme", row["question_id"], row["question"], row["answer"], options=row["options"],
        clip=f"data/{row['videoID']}.mp4", kind=row["task_type"], extra={name: row[name] for name in _FIELDS},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="videomme", title="Video-MME", citation="Fu et al., Video-MME, arXiv 2405.21075",
        licence="research use, no redistribution", source="lmms-lab/Video-MME",
        files=("test-00000-of-00001.parquet", "*/*.parquet", "videomme.json"), clips="videos_chunked_*.zip",
        prompt=ask(_ASKED, "The best answer is:"), frames="by model", kind=kind("choice"), chance=25.0,
        published={"Qwen2.5-VL-7B": 56.48}, published_in="a log in TW-GRPO's repository", read=_read,
        rules={
            "official": Rule(official.videomme, averages.videomme, "first capital A to D; others left out"),
            "lmms_eval": Rule(lmms_eval.choice_abcd, _AVERAGE, "the letter in the most trusted form"),
            "vlmevalkit_exact_matching": Rule(vlmevalkit.videomme, _AVERAGE, "first capital A to D"),
            "spacer_eval_thinking": Rule(spacer_eval.videomme, _AVERAGE, "the same, inside the tag"),
        },
    )
]  # fmt: skip
