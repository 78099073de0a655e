"""How scored rows become the figures a peer prints. All in percent but where a docstring says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tolman.bench.verdict import Row, Verdict

Aggregate = Callable[[Sequence[Row]], Mapping[str, float]]


def mean(rows: Sequence[Row]) -> float:
    """Percent. Raises ValueError where there is no row."""
    if not rows:
        raise ValueError("no gradable row: there is nothing to average")
    return 100 * float(np.mean([row["score"] for row in rows]))


def micro(*fields: str, macro: bool = False) -> Aggregate:
    """The mean over rows as `overall`, then of each value of each field that rows have.

    With several fields a figure is called `<field>/<value>`. macro: overall is the mean of the means of the
    first field's values instead.
    """

    def aggregate(rows: Sequence[Row]) -> dict[str, float]:
        parts: dict[str, float] = {}
        first: list[float] = []
        for name in fields:
            groups: dict[str, list[float]] = {}
            for row in rows:
                if row.get(name) not in (None, ""):
                    groups.setdefault(str(row[name]), []).append(row["score"])
            means = {value: 100 * float(np.mean(scores)) for value, scores in groups.items()}
            first = first or list(means.values())
            parts |= {value if len(fields) == 1 else f"{name}/{value}": one for value, one in means.items()}
        return {"overall": float(np.mean(first)) if macro and first else mean(rows)} | parts

    return aggregate


def by_type(rows: Sequence[Row]) -> dict[str, float]:
    """The mean over rows as `overall`, then of each question type."""
    return dict(micro("question_type")(rows))


def over_types(rows: Sequence[Row]) -> dict[str, float]:
    """The mean over question types as `overall`, then each of them."""
    return dict(micro("question_type", macro=True)(rows))


def stibench(rows: Sequence[Row]) -> dict[str, float]:
    """STI-Bench: `accuracy_over_all` is a share, as its script keeps it."""
    figures = dict(micro("question_type", "scene")(rows))
    return {"overall": figures["overall"], "accuracy_over_all": figures["overall"] / 100} | figures


_STI_COUNTED_TWICE = (
    "Dimensional Measurement", "Displacement & Path Length", "Ego-Centric Orientation", "Spatial Relation",
    "Speed & Acceleration", "Trajectory Description",
)  # fmt: skip


def stibench_spacer(rows: Sequence[Row]) -> dict[str, float]:
    """SpaceR-Eval's STI-Bench: the mean of the tasks and of `sr_sub_accuracy`, itself the mean of six of
    them.
    """
    tasks = dict(micro("question_type")(rows))
    del tasks["overall"]
    six = [tasks[task] for task in _STI_COUNTED_TWICE if task in tasks]
    parts = tasks | ({"sr_sub_accuracy": float(np.mean(six))} if six else {})
    return {"overall": float(np.mean([*parts.values()])) if parts else mean(rows)} | parts


def videomme(rows: Sequence[Row]) -> dict[str, float]:
    """Video-MME over answered rows (`rows` are those): `accuracy_over_answered` is a share."""
    figures = dict(micro("duration", "domain", "sub_category", "task_type", "question_type")(rows))
    share = {"accuracy_over_answered": figures["overall"] / 100, "answered": float(len(rows))}
    return {"overall": figures["overall"]} | share | figures


def tempcompass(rows: Sequence[Row]) -> dict[str, float]:
    """TempCompass: each aspect and `avg`, the mean over rows, rounded to one decimal as it is printed."""
    figures = by_type(rows)
    return {"overall": figures["overall"], "avg": round(figures["overall"], 1)} | figures


def cv_bench(rows: Sequence[Row]) -> dict[str, float]:
    """CV-Bench: ½(½(ADE20K + COCO) + Omni3D) where rows name their source, else the mean over rows."""
    figures = dict(micro("source", "question_type")(rows))
    flat = [figures.get(f"source/{name}") for name in ("ADE20K", "COCO", "Omni3D")]
    if None not in flat:
        ade, coco, omni = (float(value or 0.0) for value in flat)
        figures["overall"] = ((ade + coco) / 2 + omni) / 2
    return figures


def dsi_bench(rows: Sequence[Row]) -> dict[str, float]:
    """DSI-Bench: over samples, and over groups of a question's four variants (those of one `group`, or of one
    `id` where rows have none) with at least n right.
    """
    groups: dict[str, int] = {}
    for row in rows:
        name = str(row.get("group", row["id"]))
        groups[name] = groups.get(name, 0) + int(row["score"] == 1)
    shares = {
        f"group_wise_{n}": 100 * sum(right >= n for right in groups.values()) / len(groups)
        for n in (1, 2, 3, 4)
    }
    return {"overall": mean(rows), "sample_wise": mean(rows)} | shares | by_type(rows)


def all_right(groups: Mapping[str, Sequence[float]]) -> float:
    """Percent of groups whose every score is 1."""
    return 100 * sum(min(scores) == 1 for scores in groups.values()) / len(groups)


def grouped(rows: Sequence[Row], key: Callable[[Row], str]) -> dict[str, list[float]]:
    """Scores by key."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row["score"])
    return groups


def dsrbench(rows: Sequence[Row]) -> dict[str, float]:
    """3DSRBench: vanilla, flip (a question and its mirror), circular (its rotations) and both, all to be
    right; then main categories.
    """
    flip = grouped(rows, lambda row: _qid(row).replace("-flip", ""))
    circular = grouped(rows, lambda row: _qid(row)[:13] if "-flip" in _qid(row) else _qid(row)[:8])
    both = grouped(rows, lambda row: _qid(row)[:8])
    mains = grouped(rows, lambda row: _main_category(str(row["question_type"])))
    figures = {"overall": mean(rows), "vanilla_accuracy": mean(rows), "flip_accuracy": all_right(flip)}
    figures |= {"circular_accuracy": all_right(circular), "flip_circular_accuracy": all_right(both)}
    return figures | {f"{name}_accuracy": 100 * float(np.mean(scores)) for name, scores in mains.items()}


def _qid(row: Row) -> str:
    return str(row.get("qid") or row.get("id"))


def _main_category(category: str) -> str:
    return next(
        (name for name in ("height", "location", "orientation", "multi_object") if category.startswith(name)),
        "other",
    )


def pairs_right(rows: Sequence[Row]) -> dict[str, float]:
    """VideoMathQA's multi-binary: a question (its `id`) is right where all its pairs are."""
    return {"overall": all_right(grouped(rows, lambda row: str(row["id"]))), "pairs": mean(rows)}


def revsi(rows: Sequence[Row]) -> dict[str, float]:
    """ReVSI: the mean over seven tasks, of which direction, distance, counting and room size are means of
    their own types.
    """
    types = dict(micro("question_type")(rows))
    del types["overall"]
    tasks: dict[str, list[float]] = {}
    for kind, value in types.items():
        tasks.setdefault(_revsi_task(kind), []).append(value)
    means = {f"{task}_accuracy": float(np.mean(values)) for task, values in tasks.items()}
    return {"overall": float(np.mean([*means.values()]))} | means


def _revsi_task(kind: str) -> str:
    joined = ("object_rel_direction", "object_rel_distance", "object_counting", "room_size_estimation")
    return next((task for task in joined if kind.startswith(task)), kind)


def vstar(rows: Sequence[Row]) -> dict[str, float]:
    """V-STaR's when and where: mean overlaps with R@.3, .5, .7 of the spans (what is asked needs a judge)."""
    figures = {"overall": mean(rows)}
    for kind in ("when", "where"):
        scores = np.array([row["score"] for row in rows if row["question_type"] == kind])
        if len(scores):
            figures[f"{kind}_mIoU"] = 100 * float(scores.mean())
            figures |= {
                f"{kind}_R@{bound}": 100 * float((scores >= bound).mean()) for bound in (0.3, 0.5, 0.7)
            }
    return figures


def ovobench(rows: Sequence[Row]) -> dict[str, float]:
    """OVO-Bench: tasks, three branches as means of their tasks, and the mean of the branches."""
    tasks = {kind: mean([row for row in rows if row["question_type"] == kind]) for kind in _kinds(rows)}
    branches = {
        name: float(np.mean([tasks[task] for task in members if task in tasks]))
        for name, members in _OVO.items()
        if tasks.keys() & set(members)
    }
    return {"overall": float(np.mean([*branches.values()])) if branches else mean(rows)} | branches | tasks


_OVO = {
    "Backward": ("EPM", "ASI", "HLD"),
    "Real-time": ("OCR", "ACR", "ATR", "STU", "FPD", "OJR"),
    "Forward": ("REC", "SSR", "CRR"),
}


def _kinds(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["question_type"]) for row in rows))


def scored_already(row: Row) -> Verdict:
    """Rows that carry their score, as `score` or `peer_score`: for averages alone. Raises ValueError without
    one.
    """
    score = row.get("score", row.get("peer_score"))
    if score is None:
        raise ValueError("the row carries no score; this rule only averages")
    return Verdict(float(score), row.get("extracted"))
