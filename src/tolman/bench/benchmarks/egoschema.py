"""EgoSchema: long egocentric video (500 of 5,031 answers are public)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, mmmu
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "egoschema", row["question_idx"], row["question"], int(row["answer"]), options=row["option"],
        clip=f"videos/{row['video_idx']}.mp4",
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="egoschema", title="EgoSchema", citation="Mangalam et al., EgoSchema, arXiv 2308.09126",
        licence=SEE_SOURCE, source="lmms-lab/egoschema",
        files=("Subset/*.parquet", "egoschema_subset.json"), clips="videos_chunked_*.zip", read=_read,
        prompt=ask(), frames="by model", kind=kind("choice"), chance=20.0, official="lmms_eval",
        rules={
            "lmms_eval": Rule(mmmu.egoschema, averages.by_type, "MMMU's parser, else at random"),
        },
    )
]  # fmt: skip
