"""MindCube: what is where, seen from a few views of a small scene."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, spatial, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "mindcube", row["id"], row["question"], row["gt_answer"], clip="|".join(row["images"]),
        media="images", kind=row["id"].split("_")[0].removesuffix("new"),
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="mindcube", title="MindCube",
        citation="Yin et al., Spatial Mental Modeling from Limited Views, arXiv 2506.21458",
        licence=SEE_SOURCE, source="MLL-Lab/MindCube",
        files=("raw/MindCube_tinybench.jsonl", "MindCube_tinybench.jsonl", "MindCube.jsonl"),
        clips="data.zip", read=_read, prompt=ask(after="Answer the question directly."),
        frames="all images of a question", max_new_tokens=512, kind=kind("choice"),
        published={"Qwen2.5-VL-7B": 29.26}, published_in="the paper",
        rules={
            "official": Rule(spatial.mindcube, averages.by_type, "the last X. or the last of the best form"),
            "lmms_eval": Rule(spatial.mindcube, averages.by_type, "equal to official"),
            "vlmevalkit": Rule(vlmevalkit.spatial_choice, averages.by_type, "seven steps"),
        },
    )
]  # fmt: skip
