"""Reading the questions of benchmarks from files as they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tolman.bench.asking import ask, question
from tolman.bench.benchmark import find_benchmark, registry
from tolman.bench.load import load_questions, split_options
from tolman.bench.rules import averages
from tolman.bench.suites import located

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
    entry = find_benchmark(name)
    questions = load_questions(name, shared_data / "benchmarks" / FOLDERS.get(name, name))
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


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def write_parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), file)


def mlvu(kind: str) -> dict[str, Any]:
    return {
        "video": "v.mp4",
        "question": "Which?",
        "candidates": ["x", "y"],
        "answer": "y",
        "question_type": kind,
    }


def test_mlvu_below_its_own_folder_less_its_generation_tasks(tmp_path: Path) -> None:
    for number, kind in enumerate(("plotQA", "findNeedle"), 1):
        write(tmp_path / "MLVU" / "json" / f"{number}_{kind}.json", [mlvu(kind)])
    write(
        tmp_path / "MLVU" / "json" / "9_summary.json",
        [{"video": "v.mp4", "question": "Tell.", "answer": "…"}],
    )
    found = load_questions("mlvu", tmp_path)
    assert [each.question_type for each in found] == ["plotQA", "findNeedle"]
    assert found[0].answer == "B"


def ovo(number: int, task: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "task": task, "video": "src/v.mp4"} | more


def test_ovobench_asks_each_task_in_its_own_words_at_each_moment(tmp_path: Path) -> None:
    moments = [
        {"realtime": 3, "count": 0, "type": 0, "step": "Cut."},
        {"realtime": 9, "count": 2, "type": 1, "step": "Fry."},
    ]
    rows = [
        ovo(7, "EPM", realtime=5, question="Where?", options=["here", "there"], gt=1, answer="there"),
        ovo(8, "REC", activity="jump", test_info=moments),
        ovo(9, "SSR", test_info=moments),
        ovo(10, "CRR", question="Who won?", test_info=moments),
    ]
    write(tmp_path / "data" / "ovo_bench_new.json", rows)
    found = load_questions("ovobench", tmp_path)
    assert [each.answer for each in found] == ["B", "0", "2", "No", "Yes", "No", "Yes"]
    assert [each.path for each in found[:3]] == [f"chunked_videos/{name}.mp4" for name in ("7", "8_0", "8_1")]
    prompt = find_benchmark("ovobench").prompt
    assert prompt is not None
    asked = [prompt(each) for each in found]
    assert "Where?\nOptions:\nA. here; B. there;" in asked[0]
    assert "How many times did they jump?" in asked[1]
    assert "Cut." in asked[3]
    assert "Fry." in asked[4]
    assert "Who won?" in asked[5]
    assert all("“Yes” or “No”" in one for one in asked[3:])


def test_videommmu_reads_all_parts_and_parts_choice_from_open(tmp_path: Path) -> None:
    row = {"id": "dev_Art_1", "question": "Which?", "options": ["x", "y"], "answer": "B"}
    for part in ("Adaptation", "Comprehension", "Perception"):
        write_parquet(
            tmp_path / part / "test-00000-of-00001.parquet", [row, row | {"options": [], "answer": "3"}]
        )
    found = load_questions("videommmu", tmp_path)
    assert [each.question_type for each in found] == ["Adaptation", "Comprehension", "Perception"]
    assert {each.answer for each in found} == {"B"}
    prompt = find_benchmark("videommmu").prompt
    assert prompt is not None
    assert "apply what you learned" in prompt(found[0])
    assert prompt(found[2]).endswith("Please ignore the Quiz question in last frame of the video.")
    opened = load_questions("videommmu_open", tmp_path)
    assert [(each.answer, each.options) for each in opened] == [("3", None)] * 3


def test_tables_of_the_hub_beside_the_authors_own_files(tmp_path: Path) -> None:
    folder = tmp_path / "tempcompass"
    write_parquet(folder / "yes_no" / "test-00000-of-00001.parquet",
                  [{"video_id": "12", "question": "Up?", "answer": "yes", "dim": "direction"}])  # fmt: skip
    (found,) = load_questions("tempcompass_yes_no", folder)
    assert (found.path, found.question_type, found.answer) == ("videos/12.mp4", "direction", "yes")
    write_parquet(tmp_path / "sta" / "data" / "test-00000-of-00001.parquet",
                  [{"video": "AB.mp4", "caption": "a person sits", "timestamp": [1.5, 4.0]}])  # fmt: skip
    (found,) = load_questions("charades_sta", tmp_path / "sta")
    assert (found.path, found.problem, found.answer) == ("AB.mp4", "a person sits", "[1.5, 4.0]")
    row = {"ID": 1, "Video": "v.mp4", "time_start": 0, "time_end": 2, "Question": "Which?", "Answer": "B",
           "Candidates": '{"A": "x", "B": "y"}', "Task": "Pose", "Scene": "indoor"}  # fmt: skip
    write_parquet(tmp_path / "sti" / "qa.parquet", [row])
    (found,) = load_questions("stibench", tmp_path / "sti")
    assert found.options == ("A. x", "B. y")


def test_dsi_bench_groups_the_four_variants_of_a_question_that_have_ids_of_their_own(tmp_path: Path) -> None:
    head = "relative_path,question,options,GT,cate\n"
    for name in ("std", "hflip", "reverse", "reverse_hflip"):
        (tmp_path / "metadatas").mkdir(exist_ok=True)
        lines = "".join(f"{k}.mp4,Which?,A. up B. down,A,Cam\n" for k in range(2))
        (tmp_path / "metadatas" / f"{name}.csv").write_text(head + lines)
    found = load_questions("dsi_bench", tmp_path)
    assert len({each.problem_id for each in found}) == 8
    assert found[0].options == ("A. up", "B. down")
    rows = [
        {"id": each.problem_id, "question_type": "Cam", "score": float(k != 0)} | each.extra
        for k, each in enumerate(found)
    ]
    figures = averages.dsi_bench(rows)
    assert (figures["group_wise_3"], figures["group_wise_4"]) == (100.0, 50.0)


def test_mvbench_shows_the_part_that_a_question_is_about(tmp_path: Path) -> None:
    row = {"video": "v.mp4", "question": "Which?", "candidates": ["x", "y"], "answer": "x"}
    write(tmp_path / "json" / "action_sequence.json", [row | {"start": 2.5, "end": 9.0}, row])
    (tmp_path / "video" / "sta").mkdir(parents=True)
    (tmp_path / "video" / "sta" / "v.mp4").touch()
    found, absent = located(load_questions("mvbench", tmp_path), tmp_path)
    assert [each.path for each in found] == ["video/sta/v.mp4#t=2.5,9.0", "video/sta/v.mp4"]
    assert absent == []
    assert len({each.extra["source_clip"] for each in found}) == 1


def test_a_folder_with_one_file_of_another_name_is_read_and_with_two_is_not(tmp_path: Path) -> None:
    row = {"id": "l", "question": "Which?", "correct_choice": 1, "candidates": ["x", "y"],
           "video_path": "v.mp4", "question_category": "S2E", "duration_group": 15}  # fmt: skip
    write(tmp_path / "mine.json", [row])
    assert load_questions("longvideobench", tmp_path)[0].answer == "B"
    write(tmp_path / "other.json", [row])
    with pytest.raises(ValueError, match="no question file of LongVideoBench here"):
        load_questions("longvideobench", tmp_path)


def test_a_dataset_on_the_hub_is_read_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = tmp_path / "datasets--nyu-visionx--VSI-Bench"
    row = {"id": 1, "dataset": "scannet", "scene_name": "s", "question_type": "object_counting",
           "question": "How many?", "options": None, "ground_truth": "3"}  # fmt: skip
    write(folder / "snapshots" / ("a" * 40) / "test.jsonl", row)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    assert load_questions("vsibench", "nyu-visionx/VSI-Bench")[0].answer == "3"
    with pytest.raises(
        ValueError, match="neither a file, nor a folder, nor a dataset that the Hub hands out"
    ):
        load_questions("vsibench", "nyu-visionx/none")


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
