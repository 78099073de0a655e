"""3DSRBench: height, place, orientation and several objects in photos, each also mirrored (5,157)."""

from collections.abc import Mapping
from typing import Any

from tolman.bench.asking import SEE_SOURCE, ask, kind, question
from tolman.bench.benchmark import IN_TABLE, Benchmark, Rule
from tolman.bench.rules import averages, lmms_eval, vlmevalkit
from tolman.questions.question import Question


def _read(number: int, row: Mapping[str, Any]) -> Question:
    return question(
        "3dsrbench", row["qid"], row["question"], row["answer"], kind=row["category"], media="images",
        options=[row[letter] for letter in "ABCD" if row.get(letter) not in (None, "", "nan")],
        clip=f"images/{row.get('index', row['qid'])}",
        extra={"qid": row["qid"]},
    )  # fmt: skip


BENCHMARKS = [
    Benchmark(
        name="3dsrbench", title="3DSRBench", citation="Ma et al., 3DSRBench, arXiv 2412.07825",
        licence=SEE_SOURCE, source="ccvl/3DSRBench",
        files=("3dsrbench_v1_vlmevalkit_circular.tsv", "3dsrbench*.csv", "*.parquet"), clips=IN_TABLE,
        read=_read,
        prompt=ask("Question:", "Please select the correct answer from the options above.", "Options:"),
        frames="one image", kind=kind("choice"), chance=46.67, official="lmms_eval_extract",
        rules={
            "lmms_eval_extract": Rule(lmms_eval.dsrbench, averages.dsrbench, "the first of eight forms"),
            "lmms_eval_aggregation": Rule(averages.scored_already, averages.dsrbench, "rows with a score"),
            "vlmevalkit_exact_matching": Rule(vlmevalkit.image_choice, averages.dsrbench, "without a judge"),
        },
    )
]  # fmt: skip
