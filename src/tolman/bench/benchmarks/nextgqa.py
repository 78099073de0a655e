"""NExT-GQA: NExT-QA with the span that shows the answer (its answers here; spans in `extra`)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import Benchmark, Rule
from tolman.bench.rules import averages, mmmu
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    options = [row[f"a{k}"] for k in range(5)]
    answer = row["answer"]
    return question(
        "nextgqa", f"{row['video_id']}/{row['qid']}", row["question"], options.index(answer), options=options,
        clip=f"NExTVideo/{row['video_id']}.mp4", kind=row["type"],
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="nextgqa", title="NExT-GQA",
        citation="Xiao et al., Can I Trust Your Answer?, arXiv 2309.01327", licence=SEE_SOURCE,
        source="doc-doc/NExT-GQA (GitHub)", files=("test.csv", "val.csv"), clips="the videos of NExT-QA",
        read=_read, prompt=ask(), frames="by model", kind=kind("choice"), chance=20.0, official="lmms_eval",
        rules={
            "lmms_eval": Rule(mmmu.drawing, averages.by_type, "MMMU's parser, else at random"),
        },
    )
]  # fmt: skip
