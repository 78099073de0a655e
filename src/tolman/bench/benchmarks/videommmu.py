"""Video-MMMU: what a model learns from lectures (900 questions, some of the Adaptation part open)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from tolman.bench import videommmu
from tolman.bench.asking import SEE_SOURCE, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, mmmu
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    options = row.get("options") or None
    return question(
        "videommmu", row["id"], row["question"], row["answer"], options=options, clip=f"{row['id']}.mp4",
        kind=row.get("part", row["_folder"]), answer_kind="choice" if options else "text",
    )  # fmt: skip


_ABOUT = partial(
    Benchmark,
    citation="Hu et al., Video-MMMU, arXiv 2501.13826", licence=SEE_SOURCE, source="lmms-lab/VideoMMMU",
    files=("*_video.json", "*ion/*.parquet"), clips="*.zip", read=_read, prompt=videommmu.prompt,
    frames="by model", max_new_tokens=1024,
    published={"Gemini-2.5-Pro": 83.6, "Qwen2.5-VL-7B": 47.44}, published_in="the repository's README",
)  # fmt: skip
_RULES = {
    "official": Rule(mmmu.abstaining, averages.by_type, "MMMU's parser; empty answers dropped"),
    "lmms_eval": Rule(lmms_eval.videommmu, averages.by_type, "the letter in the most trusted form"),
    "vlmevalkit": Rule(mmmu.abstaining, averages.by_type, "MMMU's parser"),
}
_OPEN = {"official": Rule(mmmu.open_answer, averages.by_type, "any key phrase or number that matches")}
BENCHMARKS = [
    _ABOUT(name="videommmu", title="Video-MMMU", rules=_RULES, kind=kind("choice"),
           unpack=partial(videommmu.rows, with_options=True)),
    _ABOUT(name="videommmu_open", title="Video-MMMU, open", rules=_OPEN, kind=kind("text"),
           unpack=partial(videommmu.rows, with_options=False)),
]  # fmt: skip
