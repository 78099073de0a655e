"""Reading the questions of benchmarks from files as they are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tolman.bench.asking import ask, question
from tolman.bench.benchmark import find_benchmark, registry
from tolman.bench.load import load_questions, split_options

FOLDERS = {  # where the folder is not called like the benchmark
    "tempcompass_multi_choice": "tempcompass",
    "tempcompass_yes_no": "tempcompass",
    "tempcompass_caption_matching": "tempcompass",
    "videosimpleqa": "video_simpleqa",
    "vsibench": "video_r1_format",
}
NAMES = [
    "3dsrbench", "blink", "charades_sta", "cv_bench", "egost", "longvideobench", "lvbench", "mlvu", "mmvu",
    "mvbench", "nextqa", "openeqa", "ovobench", "tvgbench", "vcrbench", "video_holmes", "videommmu",
    "viewspatial", *FOLDERS,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_published_rows(shared_data: Path, name: str) -> None:
    folder = shared_data / "benchmarks" / FOLDERS.get(name, name)
    entry = find_benchmark(name)
    there = any(list(folder.glob(pattern)) for pattern in entry.files)
    questions = load_questions(name, folder if there else sorted(folder.iterdir())[0])
    assert len(questions) >= 4
    assert len({each.problem_id for each in questions}) == len(questions)
    assert entry.prompt is not None
    for each in questions:
        assert each.problem
        assert each.path
        assert each.answer
        if each.options is not None:
            assert len(each.options) > 1
            assert [option[:3] for option in each.options] == [
                f"{chr(65 + k)}. " for k in range(len(each.options))
            ]
            assert each.answer in [option[0] for option in each.options]
        assert each.problem.splitlines()[0] in entry.prompt(each)


@pytest.mark.parametrize("name", [name for name, entry in registry().items() if entry.read is not None])
def test_a_folder_without_files_is_told_what_to_download(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no question file of") as caught:
        load_questions(name, tmp_path)
    told = str(caught.value)
    entry = find_benchmark(name)
    assert str(tmp_path) in told
    assert entry.source in told
    assert entry.files[0] in told


def test_bad_rows_are_named(tmp_path: Path) -> None:
    file = tmp_path / "lvb_val.json"
    file.write_text(json.dumps([{"id": 1}]))
    with pytest.raises(ValueError, match=r"lvb_val\.json, row 1: lacks '.*'"):
        load_questions("longvideobench", tmp_path)
    file.write_text("[3]")
    with pytest.raises(ValueError, match=r"lvb_val\.json.*object"):
        load_questions("longvideobench", tmp_path)
    file.write_text('{"a": ')
    with pytest.raises(ValueError, match=r"lvb_val\.json, line 1: not JSON"):
        load_questions("longvideobench", tmp_path)
    (tmp_path / "charades_test.json").write_text('{"x": 1}')
    with pytest.raises(ValueError, match="not laid out as Charades-STA is published"):
        load_questions("charades_sta", tmp_path)
    (tmp_path / "x.xml").write_text("<a/>")
    with pytest.raises(ValueError, match=r"cannot read \.xml; \.json, \.jsonl"):
        load_questions("longvideobench", tmp_path / "x.xml")


def test_tables_are_read(tmp_path: Path) -> None:
    names = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type", "a0", "a1")
    values = ("7", "90", "1", "1", "why is it", "1", "3", "CW", "rain", "sun")
    (tmp_path / "mc.csv").write_text(",".join(names) + ",a2,a3,a4\n" + ",".join(values) + ",x,y,z\n")
    found = load_questions("nextqa", tmp_path / "mc.csv")
    assert (found[0].answer, found[0].options and found[0].options[1]) == ("B", "B. sun")


def test_splitting_options() -> None:
    assert split_options("Which?\nOptions:\nA. one\nB. two\nAnswer now.") == ("Which?", ["one", "two"])
    assert split_options("Which?\n(A) one\n(B) two") == ("Which?", ["one", "two"])
    assert split_options("Which?\nB. two") == ("Which?\nB. two", None)
    assert split_options("Which?\nA. one\nC. three") == ("Which?", ["one"])


def test_the_letter_is_asked_for_where_there_are_options() -> None:
    with_options = question("x", 1, "Which?", 1, options=["one", "two"])
    assert (with_options.answer, with_options.options) == ("B", ("A. one", "B. two"))
    assert ask()(with_options).splitlines()[-1].startswith("Answer with the option's letter")
    assert ask()(question("x", 1, "Who?", "Ann", answer_kind="text")) == "Who?"
