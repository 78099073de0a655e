"""Several benchmarks in one folder: what is there, what is missing, and the table of the results."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tolman.bench.asking import question
from tolman.bench.backends.backend import Reply, Request
from tolman.bench.benchmark import find_benchmark
from tolman.bench.evaluate import Evaluation, evaluate
from tolman.bench.figures import figures_of
from tolman.bench.frames import Sampling
from tolman.bench.lmms_log import lmms_sample, write_lmms_log
from tolman.bench.score import score_rows
from tolman.bench.suites import SUITES, located, read_suite, suite_names
from tolman.bench.summary import COLUMNS, published_text, summary_line, to_csv, to_markdown, write_summary
from tolman.questions.question import Question
from tolman.video.encode import write_clip


def test_names_of_suites_and_benchmarks() -> None:
    assert suite_names("all6") == list(SUITES["all6"])
    assert len({find_benchmark(name).folder or name for name in SUITES["all6"]}) == 6
    assert suite_names("Video-MME".replace("-", "")) == ["videomme"]
    assert suite_names("blink,all6,blink")[:2] == ["blink", "vsibench"]
    assert suite_names("blink, cv-bench") == ["blink", "cv_bench"]
    with pytest.raises(ValueError, match=r"no benchmark 'all7'; there are: .*; and suites: all6"):
        suite_names("all7")


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="8 of 8 benchmarks are not complete") as caught:
        read_suite(suite_names("all6"), tmp_path)
    told = str(caught.value)
    for source, folder in [
        ("nyu-visionx/VSI-Bench", "vsibench"),
        ("MINT-SJTU/STI-Bench", "stibench"),
        ("jasonzhango/SPAR-Bench", "sparbench"),
        ("lmms-lab/Video-MME", "videomme"),
        ("lmms-lab/TempCompass", "tempcompass"),
        ("longvideobench/LongVideoBench", "longvideobench"),
    ]:
        assert f"hf download {source} --repo-type dataset --local-dir {tmp_path / folder}" in told
    assert "its clips (video.zip) belong beside them" in told


def vsi_row(number: int, scene: str) -> dict[str, Any]:
    return {
        "id": number, "dataset": "arkitscenes", "scene_name": scene, "question_type": "object_counting",
        "question": f"How many in {scene}?", "options": None, "ground_truth": str(number + 1),
    }  # fmt: skip


def lvb_row(number: int, video: str) -> dict[str, Any]:
    return {
        "id": f"l{number}", "question": "Which?", "correct_choice": 1, "candidates": ["x", "y"],
        "video_path": video, "question_category": "S2E", "duration_group": 15,
    }  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two benchmarks, one of whose clips are all there, though not where the rows say."""
    for name, rows, file in (
        ("vsibench", [vsi_row(k, f"s{k}") for k in range(3)], "test.jsonl"),
        ("longvideobench", [lvb_row(0, "u.mp4"), lvb_row(1, "v.mp4")], "lvb_val.json"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / file).write_text(json.dumps(rows))
    for file in ("vsibench/arkitscenes/s0.mp4", "longvideobench/LongVideoBench/videos/u.mp4"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"clip")
    (tmp_path / "longvideobench" / "v.mp4").write_bytes(b"clip")
    return tmp_path


def test_missing_clips_are_counted_and_named(data: Path) -> None:
    with pytest.raises(ValueError, match="1 of 2 benchmarks are not complete") as caught:
        read_suite(["vsibench", "longvideobench"], data)
    told = str(caught.value)
    assert f"{data / 'vsibench'}: 2 of 3 clips of VSI-Bench are missing" in told
    assert "(arkitscenes/s1.mp4, arkitscenes/s2.mp4): unpack arkitscenes.zip" in told
    parts = read_suite(["vsibench", "longvideobench"], data, absent_too=True)
    assert parts[0].absent == ["arkitscenes/s1.mp4", "arkitscenes/s2.mp4"]
    # however an archive was unpacked: where a single file has the name
    assert [one.path for one in parts[1].questions] == ["LongVideoBench/videos/u.mp4", "v.mp4"]
    first = read_suite(["vsibench"], data, choose=lambda asked: list(asked[:1]))
    assert (len(first[0].questions), first[0].absent) == (1, [])


def test_two_files_of_a_name_are_no_answer(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "u.mp4").write_bytes(b"clip")
    asked = question("vsibench", 0, "?", "3", answer_kind="numeric", clip="u.mp4")
    assert located([asked], tmp_path)[1] == ["u.mp4"]
    outside = question("vsibench", 0, "?", "3", answer_kind="numeric", clip="../u.mp4")
    with pytest.raises(ValueError, match="lies outside"):
        located([outside], tmp_path)


def test_images_of_a_table_are_unpacked_once(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install pyarrow)")
    parquet = pytest.importorskip("pyarrow.parquet")
    png = b"\x89PNG" + bytes(80)
    row = {"id": "q0", "question": "How far?", "answer": "3", "task": "depth_prediction_oc", "img_type": "s"}
    table = [row | {"image": [{"bytes": png, "path": None}] * 2}]
    (tmp_path / "sparbench" / "data").mkdir(parents=True)
    parquet.write_table(arrow.Table.from_pylist(table), tmp_path / "sparbench" / "data" / "test.parquet")
    for _ in range(2):
        (part,) = read_suite(["sparbench"], tmp_path)
        assert part.absent == []
        assert [one.path for one in part.questions] == ["images/q0"]
    files = sorted((tmp_path / "sparbench" / "images" / "q0").iterdir())
    assert [file.name for file in files] == ["01.png", "02.png"]


def answered(name: str, asked: list[Question], said: list[str | None], **more: Any) -> Evaluation:
    """An evaluation with these outputs."""
    rows = [
        {
            "number": k, "id": one.problem_id, "clip": one.path, "question_type": one.question_type,
            "question": one.problem, "prompt": f"Prompt {k}", "ground_truth": one.answer,
            "options": None if one.options is None else list(one.options), "answer_unit": "",
            "raw": text, "prediction": text, "unanswered": text is None, "tokens": 2, **more,
        }
        for k, (one, text) in enumerate(zip(asked, said, strict=True))
    ]  # fmt: skip
    scored = score_rows(rows, name, "official").rows
    settings = {"benchmark": name, "rule": "official", "model": "Qwen/Qwen2.5-VL-7B"}
    return Evaluation(scored, figures_of(scored, name), settings)


def choices(count: int) -> list[Question]:
    return [
        question("stibench", f"s{k}", "Which?", "B", options=["x", "y"], clip=f"{k}.mp4", kind="Pose")
        for k in range(count)
    ]


def test_a_line_of_the_summary() -> None:
    # the official rule reads the last character: "the answer: B" is right, as is "B"; strict agrees; "C" is
    # wrong, and None is an answer nobody gave
    found = answered("stibench", choices(4), ["B", "the answer: B", "C", None])
    line = summary_line(found)
    assert [line[name] for name in ("benchmark", "rule", "n", "unanswered")] == ["stibench", "official", 4, 1]
    assert (line["score"], line["strict"], line["chance"]) == (50.0, 50.0, 20.0)
    assert line["published"]["GPT-4o"] == 34.8
    assert "README" in line["published_in"]
    text = to_markdown("title", [line])
    assert text.splitlines()[0] == "# title"
    assert text.splitlines()[2].startswith("| benchmark | rule | n |")
    assert "GPT-4o 34.8" in text
    assert "* stibench: published figures are from the repository's README" in text
    (row,) = csv.DictReader(io.StringIO(to_csv([line])))
    assert (row["benchmark"], float(row["score"]), row["n"]) == ("stibench", 50.0, "4")
    assert list(row) == [*COLUMNS, "published_in"]
    assert published_text(find_benchmark("stibench")).startswith("published: GPT-4o 34.8, ")
    assert published_text(find_benchmark("nextqa")) == ""


def test_the_summary_is_three_files(tmp_path: Path) -> None:
    lines = [summary_line(answered("stibench", choices(2), ["B", "C"]))]
    write_summary(tmp_path, "title", lines)
    assert json.loads((tmp_path / "summary.json").read_text()) == {"title": "title", "benchmarks": lines}
    assert (tmp_path / "summary.md").read_text() == to_markdown("title", lines)
    assert (tmp_path / "summary.csv").read_text() == to_csv(lines)


class Says:
    """A backend that says B to everything."""

    name, sampling = "says B", Sampling(frames=2)

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        for batch in batches:
            for request in batch:
                assert request.shown is not None
                yield request, Reply("B", 1, True, 0.0)


def published(data: Path) -> None:
    """One question or two of each of the six, in files as their authors publish them."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install pyarrow)")
    parquet = pytest.importorskip("pyarrow.parquet")

    def place(name: str, clip: str = "") -> Path:
        file = data / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if clip:
            (data / clip).parent.mkdir(parents=True, exist_ok=True)
            write_clip(data / clip, np.full((4, 32, 64, 3), 99, np.uint8), 2.0)
        return file

    def table(file: Path, row: dict[str, Any]) -> None:
        parquet.write_table(arrow.Table.from_pylist([row]), file)

    png = io.BytesIO()
    Image.new("RGB", (16, 16)).save(png, "PNG")
    vsi = vsi_row(0, "s0") | {"question_type": "object_rel_distance", "options": ["A. x", "B. y"]}
    place("vsibench/test.jsonl", "vsibench/arkitscenes/s0.mp4").write_text(
        json.dumps(vsi | {"ground_truth": "B"})
    )
    table(place("stibench/qa.parquet", "stibench/video/v.mp4"), {
        "ID": 1, "Video": "v.mp4", "time_start": 0.0, "time_end": 2.0, "Question": "How far?",
        "Candidates": {"A": "1 m", "B": "2 m"}, "Answer": "B", "Task": "Pose", "Scene": "indoor",
    })  # fmt: skip
    table(place("sparbench/data/test-00000-of-00001.parquet"), {
        "id": "q0", "question": "Which?\nA. x\nB. y", "answer": "B", "task": "position_matching",
        "img_type": "multi_view", "image": [{"bytes": png.getvalue(), "path": "0.png"}] * 2,
    })  # fmt: skip
    table(place("videomme/videomme/test-00000-of-00001.parquet", "videomme/data/u.mp4"), {
        "video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "x", "url": "",
        "videoID": "u", "question_id": "001-1", "task_type": "Counting", "question": "Which?",
        "options": ["A. x.", "B. y."], "answer": "B",
    })  # fmt: skip
    for task, answer in (("multi-choice", "B. y"), ("yes_no", "yes"), ("caption_matching", "Caption B: y")):
        asked = {"7": {"action": [{"question": "Which?\nA. x\nB. y", "answer": answer}]}}
        file = place(f"tempcompass/questions/{task}.json", "tempcompass/videos/7.mp4")
        file.write_text(json.dumps(asked))
    lvb = place("longvideobench/lvb_val.json", "longvideobench/videos/u.mp4")
    lvb.write_text(json.dumps([lvb_row(0, "u.mp4")]))


def test_all_six_as_they_are_published(tmp_path: Path) -> None:
    published(tmp_path)
    lines = []
    for part in read_suite(suite_names("all6"), tmp_path):
        name = part.entry.name
        found = evaluate(Says(), part.questions, part.root, template=name, max_new_tokens=16, benchmark=name)
        lines.append(summary_line(found))
    # "B" is right where a letter is asked for, and is neither yes nor a caption
    scores = {line["benchmark"]: line["score"] for line in lines}
    assert scores == dict.fromkeys(SUITES["all6"], 100.0) | {
        "tempcompass_yes_no": 0.0,
        "tempcompass_caption_matching": 0.0,
    }
    assert all((line["n"], line["unanswered"]) == (1, 0) for line in lines)


# lmms-eval's log: the fields and their forms are those that its EvaluationTracker.save_results_samples
# writes: doc_id, target as text, resps left out where filtered_resps say the same, doc_hash, the metric,
# input; arguments and doc are taken out.


def test_a_sample_field_by_field() -> None:
    asked = [
        question("vsibench", 7, "How many?", "4", answer_kind="numeric", clip="a.mp4", kind="object_counting")
    ]
    row = answered("vsibench", asked, ["4"]).rows[0]
    sample = lmms_sample(row, "vsibench")
    assert list(sample) == [
        "doc_id", "target", "filtered_resps", "token_counts", "doc_hash", "vsibench_score", "input",
    ]  # fmt: skip
    assert (sample["doc_id"], sample["target"]) == (0, "4")
    assert (sample["filtered_resps"], sample["input"]) == (["4"], "Prompt 0")
    assert sample["token_counts"] == [{"output_tokens": 2}]
    doc = {
        "id": "7" if isinstance(row["id"], str) else 7, "question_type": "object_counting",
        "question": "How many?", "options": None, "ground_truth": "4",
    }  # fmt: skip
    assert sample["vsibench_score"] == doc | {"prediction": "4", "score": 1.0, "MRA:.5:.95:.05": 1.0}
    assert len(sample["doc_hash"]) == 64
    thought = row | {"raw": "<think>x</think><answer>4</answer>"}
    assert lmms_sample(thought, "vsibench")["resps"] == ["<think>x</think><answer>4</answer>"]
    assert lmms_sample(row | {"tokens": None}, "vsibench")["token_counts"] == [None]
    silent = lmms_sample(row | {"raw": None, "prediction": None, "score": float("nan")}, "vsibench")
    assert (silent["filtered_resps"], silent["vsibench_score"]["score"]) == ([""], None)
    del row["prompt"]
    with pytest.raises(ValueError, match="row 7 lacks `prompt`"):
        lmms_sample(row, "vsibench")


def test_the_log_lies_where_theirs_does(tmp_path: Path) -> None:
    found = answered("stibench", choices(4), ["B", "B", "C", "B"])
    rows = found.rows[::-1]  # as they came; the log is in the questions' order
    samples, results = write_lmms_log(tmp_path, rows, found.settings, datetime(2026, 3, 4, 5, 6, 7))
    assert samples == tmp_path / "Qwen__Qwen2.5-VL-7B" / "20260304_050607_samples_stibench.jsonl"
    assert results == tmp_path / "Qwen__Qwen2.5-VL-7B" / "20260304_050607_results.json"
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [line["doc_id"] for line in lines] == [0, 1, 2, 3]
    content = json.loads(results.read_text())
    assert content["results"]["stibench"]["stibench_score,none"] == 75.0
    assert content["results"]["stibench"]["stibench_score_stderr,none"] == pytest.approx(found.figures.stderr)
    assert content["n-samples"] == {"stibench": {"original": 4, "effective": 4}}
    assert content["higher_is_better"] == {"stibench": {"stibench_score": True}}
    assert content["model_name_sanitized"] == "Qwen__Qwen2.5-VL-7B"
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    loaded = datasets.Dataset.from_list(lines)
    assert set(loaded.column_names) == set(lines[0])
