"""No row is lost: kills, torn lines, two processes, resuming, scoring anew. No model takes part."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tolman.bench.backends.backend import Reply, Request
from tolman.bench.evaluate import Evaluation, evaluate
from tolman.bench.frames import Sampling
from tolman.bench.predictions import Predictions, read_predictions
from tolman.bench.score import score_rows
from tolman.questions.question import Question

COUNT = 12


def questions(count: int = COUNT) -> list[Question]:
    return [
        Question(
            f"q{k}", f"Question {k}?", "video", "numerical", None, f"<answer>{k + 1}</answer>",
            f"{k % 3}.mp4", "test", scene_id=str(k % 3), question_type="object_counting",
        )
        for k in range(count)
    ]  # fmt: skip


class Counting:
    """Answers question k with k + 1 if k is even, else with nothing that counts; then may hang for ever."""

    name, sampling = "counting", Sampling(frames=4)

    def __init__(self, hang_after: int | None = None) -> None:
        self.hang_after, self.asked = hang_after, [0][:0]

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        for batch in batches:
            for request in batch:
                if len(self.asked) == self.hang_after:
                    time.sleep(600)
                self.asked.append(request.number)
                text = str(request.number + 1) if request.number % 2 == 0 else "many"
                yield request, Reply(text, 1, True, 0.01)


def run(backend: Counting, out: Path, **options: Any) -> Evaluation:
    settings = {"clip_source": "none", "template": "vsibench", "max_new_tokens": 4, "batch": 5}
    return evaluate(backend, questions(), out.parent, **settings | {"out": out} | options)


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["number"] for line in path.read_text().splitlines()]


def same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    return {**row, "clip_root": ""} == {**other, "clip_root": ""}


CHILD = """
import sys
from pathlib import Path
from test_bench_predictions import Counting, run
run(Counting(hang_after=int(sys.argv[2])), Path(sys.argv[1]), resume=True)
"""


def test_killed_and_resumed_no_question_is_asked_twice_or_missed(tmp_path: Path) -> None:
    out = tmp_path / "run" / "predictions.jsonl"
    paths = [str(Path(__file__).parent), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(out), "5"], env=environment)
    try:
        while child.poll() is None and not (out.is_file() and out.read_bytes().count(b"\n") == 5):
            time.sleep(0.05)
        assert child.poll() is None
        with pytest.raises(ValueError, match=f"process {child.pid} writes predictions here"):
            run(Counting(), out, resume=True)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    before = out.read_text()
    assert numbers(out) == [0, 1, 2, 3, 4]
    with out.open("a") as stream:
        stream.write(before.splitlines()[0][:70])  # a line that the kill cut in half
    backend = Counting()
    found = run(backend, out, resume=True)
    assert backend.asked == [5, 6, 7, 8, 9, 10, 11]
    assert out.read_text().startswith(before)
    assert sorted(numbers(out)) == list(range(COUNT))
    whole = run(Counting(), tmp_path / "whole" / "predictions.jsonl")
    assert [row["id"] for row in found.rows] == [f"q{k}" for k in range(COUNT)]
    assert all(same(row, other) for row, other in zip(found.rows, whole.rows, strict=True))
    assert found.to_json() == whole.to_json()
    assert found.figures.overall == pytest.approx(50.0)  # even questions are right


@pytest.mark.parametrize("kept", [0, 1, 7])
@pytest.mark.parametrize("torn", ["", "{", '{"number": 11, "id"', "\0\0"])
def test_a_torn_line_is_cut_off_wherever_it_was_torn(tmp_path: Path, kept: int, torn: str) -> None:
    out = tmp_path / "predictions.jsonl"
    run(Counting(), out)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:kept]) + torn)
    backend = Counting()
    run(backend, out, resume=True)
    assert len(backend.asked) == COUNT - kept
    assert sorted(numbers(out)) == list(range(COUNT))
    assert out.read_text().startswith("".join(lines[:kept]))


def test_a_finished_run_asks_nothing(tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    first = run(Counting(), out)
    content, backend = out.read_bytes(), Counting()
    again = run(backend, out, resume=True)
    assert backend.asked == []
    assert out.read_bytes() == content
    assert again.rows == first.rows


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_new_tokens": 5}, "max_new_tokens was 4, is 5"),
        ({"template": "direct"}, "template was 'vsibench', is 'direct'"),
        ({"sampling": Sampling(frames=8)}, "frames was 4, is 8"),
        ({"rule": "strict"}, "rule was 'official', is 'strict'"),
        ({"seed": 1}, "seed was 0, is 1"),
    ],
)
def test_another_run_is_not_resumed(tmp_path: Path, options: dict[str, Any], name: str) -> None:
    out = tmp_path / "predictions.jsonl"
    run(Counting(), out)
    content = out.read_bytes()
    with pytest.raises(ValueError, match=f"cannot resume .*: {name}"):
        run(Counting(), out, resume=True, **options)
    assert out.read_bytes() == content


def test_other_questions_are_not_resumed(tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    run(Counting(), out)
    with pytest.raises(ValueError, match=r"questions was '12, sha256 .*', is '11, sha256"):
        evaluate(
            Counting(), questions(11), tmp_path, clip_source="none", template="vsibench", max_new_tokens=4,
            out=out, resume=True,
        )  # fmt: skip
    (tmp_path / "predictions.settings.json").unlink()
    with pytest.raises(ValueError, match=r"predictions.settings.json is missing"):
        run(Counting(), out, resume=True)


def test_without_resuming_earlier_rows_are_moved_aside(tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    run(Counting(), out)
    content = out.read_bytes()
    for k in (1, 2):
        run(Counting(), out)
        assert (tmp_path / f"predictions.{k}.jsonl").read_bytes() == content
        assert (tmp_path / f"predictions.{k}.settings.json").is_file()
    assert sorted(numbers(out)) == list(range(COUNT))


def test_the_file_is_locked_while_it_is_open_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with Predictions(path, {}, resume=False) as file:
        file.add({"number": 3, "score": math.nan})
        with pytest.raises(ValueError, match=f"process {os.getpid()} writes predictions here"):
            Predictions(path, {}, resume=True)
        with pytest.raises(ValueError, match="question 3 has an answer already"):
            file.add({"number": 3, "score": 1.0})
    with Predictions(path, {}, resume=True) as file:
        assert math.isnan(file.rows[3]["score"])
    assert path.read_text() == '{"number": 3, "score": null}\n'


def test_rows_that_are_no_answers_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with Predictions(path, {}, resume=False):
        pass
    path.write_text('{"number": 1, "score": 1}\n{"number": 1, "score": 1}\n')
    with pytest.raises(ValueError, match="each its own, got 1"):
        Predictions(path, {}, resume=True)
    path.write_text('{"number": 1}\nnonsense\n{"number": 2}\n')
    with pytest.raises(ValueError, match="line 2: not JSON"):
        Predictions(path, {}, resume=True)
    path.write_text("[]\n")
    with pytest.raises(ValueError, match="line 1: expected an object, got list"):
        read_predictions(path)
    with pytest.raises(ValueError, match="no such file"):
        read_predictions(tmp_path / "absent.jsonl")


def test_scoring_anew_needs_no_model(tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    found = run(Counting(), out)
    rows = read_predictions(out)
    again = score_rows(rows, "vsibench", "official")
    assert again.aggregate["overall"] == pytest.approx(found.figures.overall)
    by_id = {row["id"]: row["score"] for row in again.rows}
    assert [by_id[f"q{k}"] for k in range(COUNT)] == [row["score"] for row in found.rows]
    assert score_rows(rows, "vsibench", "strict").aggregate["overall"] == pytest.approx(50.0)
