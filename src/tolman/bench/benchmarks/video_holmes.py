"""Video-Holmes: reasoning about suspense films (1,837 questions with six options)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, holmes, mmmu, vlmevalkit
from tolman.questions.question import Question


def _prompt(question: Question) -> str:
    options = ", ".join(f"{one[0]}: {one[3:]}" for one in question.options or ())
    return (
        "Based on the given video, reason and answer the single-choice question. Provide your reasoning "
        "between the <think> and </think> tags, and then give your final answer between the <answer> and "
        f"</answer> tags. The question is: {question.problem}. The options are: {options}. Your answer:"
    )


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "video_holmes", row["Question ID"], row["Question"], row["Answer"], options=row["Options"].values(),
        clip=f"videos_cropped/{row['video ID']}.mp4", kind=row["Question Type"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="video_holmes", title="Video-Holmes", citation="Cheng et al., Video-Holmes, arXiv 2505.21374",
        licence=SEE_SOURCE, source="TencentARC/Video-Holmes", files=("test_Video-Holmes.json",), read=_read,
        clips="videos.zip", prompt=_prompt, frames="32, evenly", sampling={"frames": 32}, chance=16.67,
        max_new_tokens=1024, kind=kind("choice"), published={"Qwen2.5-VL-7B": 27.8}, published_in="the paper",
        rules={
            "official": Rule(holmes.official, averages.by_type, "the last tag, letters tried from A to F"),
            "lmms_eval": Rule(mmmu.drawing, averages.by_type, "MMMU's parser, else at random"),
            "vlmevalkit": Rule(vlmevalkit.video_holmes, averages.by_type, "no tag is wrong"),
        },
    )
]  # fmt: skip
