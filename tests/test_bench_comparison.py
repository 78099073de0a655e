"""Two runs compared, against SciPy; what an audit says of scripted policies."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tolman.bench.audit import CATEGORIES, audit, category
from tolman.bench.comparison import compare_runs
from tolman.bench.frames import CLIP_SOURCES
from tolman.cli.main import main

Rows = list[dict[str, Any]]


def row(number: int, score: float, kind: str = "object_counting", clip: str = "a") -> dict[str, Any]:
    return {
        "id": number, "score": score, "question_type": kind, "ground_truth": "3", "options": None,
        "clip": f"{clip}.mp4", "question": f"{number}?", "prediction": "3",
    }  # fmt: skip


def runs(scores: list[tuple[float, float]], clips: int) -> tuple[Rows, Rows]:
    """Two runs of one task; question k is about clip k modulo `clips`."""
    sides = [[row(k, pair[side], clip=str(k % clips)) for k, pair in enumerate(scores)] for side in (0, 1)]
    return sides[0], sides[1]


def test_the_interval_and_p_are_scipys() -> None:
    rng = np.random.default_rng(4)
    scores = [(float(a), float(b)) for a, b in rng.random((60, 2)).round(1)]
    before, after = runs(scores, clips=12)
    found = compare_runs(before, after, seed=1).overall
    gains = np.array([second - first for first, second in scores])
    sums = np.array([gains[k::12].sum() for k in range(12)])
    sizes = np.full(12, 5.0)
    oracle = scipy.stats.bootstrap(
        (sums, sizes),
        lambda of_sums, of_sizes, axis: of_sums.sum(axis) / of_sizes.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(2),
    )
    # two independent sets of 10,000 draws: their quantiles agree to about a fiftieth of the interval
    assert found.difference == pytest.approx(100 * gains.mean())
    close = 0.05 * 100 * (oracle.confidence_interval.high - oracle.confidence_interval.low)
    assert found.low == pytest.approx(100 * oracle.confidence_interval.low, abs=close)
    assert found.high == pytest.approx(100 * oracle.confidence_interval.high, abs=close)
    drawn = oracle.bootstrap_distribution
    assert found.p == pytest.approx(2 * min((drawn <= 0).mean(), (drawn >= 0).mean()), abs=0.03)
    assert 0.05 < found.p < 1
    assert compare_runs(before, after, seed=1) == compare_runs(before, after, seed=1)
    assert compare_runs(before, after, seed=2).overall.low != found.low


def test_rows_won_and_lost_are_mcnemars() -> None:
    # 9 won, 2 lost, 5 stay right, 4 stay wrong; a clip each
    scores = [(0.0, 1.0)] * 9 + [(1.0, 0.0)] * 2 + [(1.0, 1.0)] * 5 + [(0.0, 0.0)] * 4
    found = compare_runs(*runs(scores, clips=20)).overall
    assert (found.n, found.won, found.lost) == (20, 9, 2)
    assert (found.before, found.after) == (pytest.approx(35.0), pytest.approx(70.0))
    # two-sided binomial, 11 coins, 2 or fewer of one side: 2 · (1 + 11 + 55) / 2048
    assert found.sign_p == pytest.approx(134 / 2048)


def test_an_improvement_of_every_clip_has_the_smallest_p() -> None:
    found = compare_runs(*runs([(0.0, 1.0)] * 12, clips=6)).overall
    assert (found.low, found.high) == (100.0, 100.0)
    assert found.p == pytest.approx(2 / 10_001)


def test_equal_runs_have_p_1() -> None:
    found = compare_runs(*runs([(1.0, 1.0), (0.0, 0.0), (0.5, 0.5)], clips=3)).overall
    assert (found.difference, found.p, found.sign_p, found.won, found.lost) == (0.0, 1.0, 1.0, 0, 0)


def test_tasks_and_the_benchmarks_own_average() -> None:
    kinds = ["object_counting"] * 4 + ["room_size_estimation"] * 2
    before = [row(k, 0.0, kind, str(k % 2)) for k, kind in enumerate(kinds)]
    after = [row(k, float(k == 0 or k > 3), kind, str(k % 2)) for k, kind in enumerate(kinds)]
    found = compare_runs(before, after, draws=200)
    assert list(found.tasks) == ["object_counting", "room_size_estimation"]
    assert [line.difference for line in found.tasks.values()] == [pytest.approx(25), pytest.approx(100)]
    assert found.overall.difference == pytest.approx(62.5)  # over tasks, not rows
    rows = compare_runs(before, after, "stibench", draws=200).overall
    assert rows.difference == pytest.approx(50.0)  # over rows


def test_a_task_with_one_clip_has_no_interval() -> None:
    found = compare_runs(*runs([(0.0, 1.0)] * 3, clips=1))
    assert (found.overall.difference, found.overall.p) == (None, None)
    assert found.tasks["object_counting"].won == 3


def test_one_task_of_several_with_one_clip_has_no_interval() -> None:
    kinds = [("object_counting", "a"), ("object_counting", "b"), ("room_size_estimation", "a")]
    before, after = ([row(k, score, *kind) for k, kind in enumerate(kinds)] for score in (0.0, 1.0))
    found = compare_runs(before, after, draws=50)
    assert found.tasks["object_counting"].difference == 100
    assert found.tasks["room_size_estimation"].difference is None
    assert found.tasks["room_size_estimation"].won == 1
    assert found.overall.difference == 100


def test_rows_that_cannot_be_graded_count_nowhere() -> None:
    before, after = runs([(0.0, 1.0), (math.nan, 1.0), (1.0, 1.0)], clips=3)
    found = compare_runs(before, after)
    assert (found.overall.n, found.skipped) == (2, 1)
    with pytest.raises(ValueError, match="no row is graded in both"):
        compare_runs(before[1:2], after[1:2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(), "1 only in the first, 0 only in the second"),
        (lambda rows: rows.append(row(9, 1.0)), "0 only in the first, 1 only in the second .9."),
        (lambda rows: rows.append(rows[0]), "the second run has question 0 twice"),
        (lambda rows: rows[1].pop("id"), "the second run has a row without an id"),
        (lambda rows: rows[1].update(question="Other?"), "question 1: question is '1\\?' and 'Other\\?'"),
        (lambda rows: rows[1].update(ground_truth="4"), "question 1: ground_truth is '3' and '4'"),
    ],
)
def test_different_questions_are_refused(change: Any, message: str) -> None:
    before, after = runs([(0.0, 1.0)] * 3, clips=3)
    change(after)
    with pytest.raises(ValueError, match=message):
        compare_runs(before, after)


@pytest.mark.parametrize(
    ("true", "none", "shuffled", "expected"),
    [
        (1, 1, 1, "llm-answerable"),
        (0, 1, 0, "llm-answerable"),
        (1, 0, 1, "semantic"),
        (0, 0, 1, "semantic"),
        (1, 0, 0, "temporal"),
        (0.5, 0.4, 0.4, "temporal"),
        (0, 0, 0, "others"),
        (0.4, 0.4, 0.4, "others"),
    ],
)
def test_vbenchcomps_categories(true: float, none: float, shuffled: float, expected: str) -> None:
    assert category(true, none, shuffled) == expected


def test_an_audit() -> None:
    #                true none one shuffled other
    kinds = {
        "blind": (1, 1, 1, 1, 1),
        "sees": (1, 0, 1, 1, 0),
        "orders": (1, 0, 0, 0, 0),
        "fails": (0, 0, 0, 0, 0),
    }
    each = ["blind"] * 1 + ["sees"] * 2 + ["orders"] * 3 + ["fails"] * 4
    rows = {
        source: [row(k, float(kinds[name][at]), clip=str(k)) for k, name in enumerate(each)]
        for at, source in enumerate(CLIP_SOURCES)
    }
    found = audit(rows)
    assert found.categories["overall"] == dict(zip(CATEGORIES, (10.0, 20.0, 30.0, 40.0), strict=True))
    assert found.categories["object_counting"] == found.categories["overall"]
    assert [found.views[source].overall for source in CLIP_SOURCES] == pytest.approx([60, 10, 30, 30, 10])
    assert [line.difference for line in found.changes.values()] == pytest.approx([-50, -30, -30, -50])
    assert found.changes["none"].lost == 5
    assert found.n == 10
    with pytest.raises(ValueError, match="under shuffled, other too"):
        audit({source: rows[source] for source in ("true", "none", "one")})


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = runs([(0.0, 1.0)] * 4 + [(1.0, 0.0)], clips=5)
    for name, rows in (("a", before), ("b", after)):
        (tmp_path / name).mkdir()
        text = "".join(json.dumps(one) + "\n" for one in rows)
        (tmp_path / name / "predictions.jsonl").write_text(text)
    sides = [str(tmp_path / "a"), str(tmp_path / "b" / "predictions.jsonl")]  # a folder and a file
    assert main(["compare", *sides, "--json", str(tmp_path / "c.json"), "--resamples", "500"]) == 0
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["overall"]["won"], found["overall"]["lost"], found["draws"]) == (4, 1, 500)
    assert "+60.0" in capsys.readouterr().out
    # by a rule both are scored anew: "3" is right everywhere
    assert main(["compare", *sides, "--rule", "strict", "--json", str(tmp_path / "c.json")]) == 0
    assert json.loads((tmp_path / "c.json").read_text())["overall"]["difference"] == 0
    (tmp_path / "b" / "predictions.jsonl").write_text(json.dumps(after[0]) + "\n")
    assert main(["compare", *sides]) == 2
    assert "different questions" in capsys.readouterr().err
    assert main(["compare", str(tmp_path), sides[1]]) == 2
    assert "no such file of predictions" in capsys.readouterr().err
