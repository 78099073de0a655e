"""Video-MMMU: what a model learns from lectures (900 questions, 21 of them open)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from tolman.bench import unpack
from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, mmmu
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    options = row.get("options") or None
    return question(
        "videommmu", row["id"], row["question"], row["answer"], options=options, clip=f"{row['id']}.mp4",
        kind=row.get("part", row.get("question_type", "")), answer_kind="choice" if options else "text",
    )  # fmt: skip


_ABOUT = partial(
    Benchmark,
    citation="Hu et al., Video-MMMU, arXiv 2501.13826", licence=SEE_SOURCE, source="lmms-lab/VideoMMMU",
    files=("adaptation_video.json", "perception_video.json", "comprehension_video.json", "*.parquet"),
    clips="*.zip", unpack=unpack.by_part, read=_read, frames="by model", max_new_tokens=1024,
    published_in="the repository's README",
    prompt=ask(after="Please ignore the Quiz question in last frame of the video."),
    published={"Gemini-2.5-Pro": 83.6, "Qwen2.5-VL-7B": 47.44},
)  # fmt: skip
_RULES = {
    "official": Rule(mmmu.abstaining, averages.by_type, "MMMU's parser; empty answers dropped"),
    "lmms_eval": Rule(lmms_eval.videommmu, averages.by_type, "the letter in the most trusted form"),
    "vlmevalkit": Rule(mmmu.abstaining, averages.by_type, "MMMU's parser"),
}
_OPEN = {"official": Rule(mmmu.open_answer, averages.by_type, "any key phrase or number that matches")}
BENCHMARKS = [
    _ABOUT(name="videommmu", title="Video-MMMU", rules=_RULES, kind=kind("choice")),
    _ABOUT(name="videommmu_open", title="Video-MMMU, open", rules=_OPEN, kind=kind("text")),
]
