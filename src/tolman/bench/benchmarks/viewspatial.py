"""ViewSpatial-Bench: directions from the camera's and from a person's view (5,712 questions)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, spatial, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "viewspatial", number, row["question"], row["answer"][0], options=row["choices"].split("\n"),
        media="images",
        clip="|".join(row["image_path"]), kind=row["question_type"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="viewspatial", title="ViewSpatial-Bench",
        citation="Li et al., ViewSpatial-Bench, arXiv 2505.21500", licence=SEE_SOURCE,
        source="lidingm/ViewSpatial-Bench", files=("ViewSpatial-Bench.json",),
        clips="scannetv2_val.zip, val2017.zip", read=_read,
        prompt=ask("Question:", "Reply only to the corresponding option.\nAnswer:", "Choices:"),
        frames="all images of a question", max_new_tokens=128, kind=kind("choice"),
        published={"Qwen2.5-VL-7B": 36.85}, published_in="the paper",
        rules={
            "official": Rule(spatial.viewspatial, averages.by_type, "the first lone A to D of the last line"),
            "lmms_eval": Rule(spatial.viewspatial, averages.by_type, "equal to official"),
            "vlmevalkit": Rule(vlmevalkit.spatial_choice, averages.by_type, "seven steps"),
        },
    )
]  # fmt: skip
