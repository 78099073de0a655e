"""Question files: published ones, ours, and broken ones."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tolman.data.maps import read_maps, with_maps
from tolman.data.rows import clip_path, read_questions, read_rows, write_questions
from tolman.data.validate import validate
from tolman.learn.annotations import read_turns
from tolman.questions.question import Question
from tolman.reward.registry import REWARDS

ROW = {
    "problem_id": 1,
    "problem": "How many?",
    "problem_type": "numerical",
    "solution": "<answer>2</answer>",
    "path": "a.mp4",
}


def question(**changes: object) -> Question:
    return Question.from_row(ROW | changes)


class TestPublished:
    def test_spacer(self, shared_data: Path) -> None:
        questions = read_questions(shared_data / "spacer" / "sr_4250.jsonl")
        assert len(questions) == 4250
        assert questions[0].answer == "0.3507"
        assert questions[0].path == "ScanNet/video/scene0024_02.mp4"
        assert questions[0].question_type == "object_abs_distance"

    def test_video_r1(self, shared_data: Path) -> None:
        file = shared_data / "benchmarks" / "video_r1_format" / "eval_vsibench.json"
        questions = read_questions(file)
        assert len(questions) == len(json.loads(file.read_text()))
        assert (questions[0].answer, questions[0].question_type) == ("4", "object_counting")
        assert questions[0].extra["process"] == ""

    def test_written_and_read_again(self, shared_data: Path, tmp_path: Path) -> None:
        questions = read_questions(shared_data / "spacer" / "sr_4250.jsonl")[:200]
        write_questions(tmp_path / "q.jsonl", questions)
        assert read_questions(tmp_path / "q.jsonl") == questions


class TestOurs:
    def test_round_trip(self, tmp_path: Path) -> None:
        questions = [
            question(problem_id="r/0", options=["A. ünï", "B. \u2028x"], cognitive_map={"chair": [[1, 2]]}),
            question(problem_id="r/1", evidence={"m": 0.1}, note={"kept": [1]}),
        ]
        write_questions(tmp_path / "q.jsonl", questions)
        assert read_questions(tmp_path / "q.jsonl") == questions
        assert len((tmp_path / "q.jsonl").read_bytes().split(b"\n")) == 3

    def test_array_or_lines_by_content(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_text(f"\n [{json.dumps(ROW)},\n{json.dumps(ROW)} ] \n")
        (tmp_path / "b.json").write_text(f"{json.dumps(ROW)}\r\n\n{json.dumps(ROW)}")
        assert read_questions(tmp_path / "a.jsonl") == read_questions(tmp_path / "b.json") == [question()] * 2

    def test_interrupted_write_leaves_the_old_file(self, tmp_path: Path) -> None:
        write_questions(tmp_path / "q.jsonl", [question()])

        def broken() -> list[Question]:
            yield question()
            raise RuntimeError("stop")

        with pytest.raises(RuntimeError):
            write_questions(tmp_path / "q.jsonl", broken())
        assert len(read_questions(tmp_path / "q.jsonl")) == 1
        assert [p.name for p in tmp_path.iterdir()] == ["q.jsonl"]

    def test_clip_path(self, tmp_path: Path) -> None:
        assert clip_path(question(path="clips/a.mp4"), tmp_path) == tmp_path / "clips" / "a.mp4"
        assert clip_path(question(path="/data/a.mp4"), "/") == Path("/data/a.mp4")
        (tmp_path / "ScanNet").mkdir()
        (tmp_path / "ScanNet" / "a.mp4").touch()
        assert clip_path(question(path="/ScanNet/a.mp4"), tmp_path) == tmp_path / "ScanNet" / "a.mp4"
        for outside in ("/ScanNet/b.mp4", "/../a.mp4", f"/ScanNet/../../{tmp_path.name}x/a.mp4"):
            with pytest.raises(ValueError, match="lies outside"):
                clip_path(question(path=outside), tmp_path)
        with pytest.raises(ValueError, match="question 1 names no clip"):
            clip_path(question(path=""), tmp_path)


GOOD = json.dumps(ROW)
BAD = {
    "not_json": (f"{GOOD}\n{{oops", "line 2: not JSON"),
    "cut": (f"{GOOD}\n\n{GOOD[:40]}", "line 3: not JSON"),
    "number": (f"{GOOD}\n7", "line 2: a row must be an object, got 7"),
    "missing": ('{"problem_id": 1, "problem": "x"}', "line 1: .*lacks .*solution"),
    "solution": (json.dumps(ROW | {"solution": 2}), "line 1: `solution` must be text, got 2"),
    "options": (json.dumps(ROW | {"options": "A. x"}), "line 1: `options` must be texts or null"),
    "unit": (json.dumps(ROW | {"answer_unit": ["m"]}), "line 1: `answer_unit` must be text"),
    "evidence": (json.dumps(ROW | {"evidence": "x"}), "line 1: `evidence` must be an object"),
    "map": (json.dumps(ROW | {"cognitive_map": [1]}), "line 1: `cognitive_map` must map names to lists"),
    "position": (
        json.dumps(ROW | {"cognitive_map": {"chair": [["x", 2]]}}),
        "line 1: map: 'chair' has position .*'x'",
    ),
    "deep": ("[" * 100_000, "line 1: not JSON"),
    "array_open": (f"[{GOOD},\n{GOOD}", "line 2: not JSON: expected `,` or `]`, got the end"),
    "array_row": (f"[{GOOD},\n\n3]", "line 3: a row must be an object"),
    "array_comma": (f"[{GOOD}\n{GOOD}]", "line 2: not JSON: expected `,`"),
    "array_trailing_comma": (f"[{GOOD},\n]", "line 2: not JSON"),
    "array_more": (f"[{GOOD}]\n[]", "text after the array"),
    "array_none": ("[ ]", "no question"),
    "empty": ("", "no question"),
    "blank": (" \n\n", "no question"),
}


@pytest.mark.parametrize("name", BAD)
def test_broken_files_name_file_and_line(tmp_path: Path, name: str) -> None:
    text, match = BAD[name]
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(ValueError, match=rf"rows\.json.*{match}"):
        read_questions(tmp_path / "rows.json")


def test_broken_rows_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(f"{GOOD}\n{{oops\n\n7\n{GOOD}")
    questions, bad = read_rows(tmp_path / "rows.jsonl")
    assert questions == [question()] * 2
    assert [row.line for row in bad] == [2, 4]
    assert bad[1].reason == "a row must be an object, got 7"
    (tmp_path / "rows.json").write_text(f"[{GOOD},\n8,\n{GOOD}\n{GOOD}, 9]")
    questions, bad = read_rows(tmp_path / "rows.json")
    assert len(questions) == 2  # nothing is read after broken JSON
    assert [row.line for row in bad] == [2, 4]
    (tmp_path / "rows.jsonl").write_text("nothing\n")
    assert [row.line for row in read_rows(tmp_path / "rows.jsonl")[1]] == [1]


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.jsonl: cannot be read"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="cannot be read"):
        read_questions(tmp_path)
    (tmp_path / "latin.jsonl").write_bytes(b'{"problem": "caf\xe9"}')
    with pytest.raises(ValueError, match=r"latin\.jsonl: not UTF-8 text \(byte 16\)"):
        read_questions(tmp_path / "latin.jsonl")


def test_unwritable_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none/q\.jsonl: cannot be written"):
        write_questions(tmp_path / "none" / "q.jsonl", [question()])


BARE = {"problem_id": 1, "problem": "Which?", "solution": "B", "path": "a.mp4"}
INLINE = "Question:\nWhich is closest?\nOptions:\nA. bed\nB. desk"


class TestForeign:
    """What a row leaves out is worked out, and counted in the log."""

    @pytest.mark.parametrize(
        ("row", "kind", "answer", "options"),
        [
            (BARE | {"problem": INLINE}, "multiple choice", "B", ("A. bed", "B. desk")),
            (BARE | {"options": ["A. bed", "B. desk"]}, "multiple choice", "B", ("A. bed", "B. desk")),
            (BARE | {"solution": "0.35"}, "numerical", "0.35", None),
            (BARE | {"solution": "left"}, "free-form", "left", None),
            (BARE | {"problem_type": "OCR", "solution": "12"}, "OCR", "12", None),
            (
                BARE | {"problem_type": "numerical", "options": ["A. 1 m", "B. 2 m"]},
                "multiple choice", "B", ("A. 1 m", "B. 2 m"),
            ),
            (
                BARE | {"problem_type": "numerical", "options": ["A. 1", "B. 2"], "solution": "2"},
                "numerical", "2", ("A. 1", "B. 2"),
            ),
        ],
    )  # fmt: skip
    def test_by_hand(
        self, tmp_path: Path, row: dict[str, object], kind: str, answer: str, options: tuple[str, ...] | None
    ) -> None:
        (tmp_path / "q.jsonl").write_text(json.dumps(row))
        [found] = read_questions(tmp_path / "q.jsonl")
        assert (found.problem_type, found.answer, found.options) == (kind, answer, options)
        assert found.solution == f"<answer>{answer}</answer>"
        assert "Options" not in found.problem

    def test_said_and_counted(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        rows = [BARE | {"problem": INLINE}, BARE | {"solution": "3"}, ROW]
        (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
        read_questions(tmp_path / "q.jsonl")
        [record] = caplog.records
        assert record.getMessage().endswith(
            "answer tags (2 rows), options from the problem (1 rows), "
            "problem type multiple choice (1 rows), problem type numerical (1 rows)"
        )

    def test_whole_rows_say_nothing(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        write_questions(tmp_path / "q.jsonl", [question()])
        read_questions(tmp_path / "q.jsonl")
        assert not caplog.records

    def test_every_row_of_the_early_file_can_be_graded(self, shared_data: Path) -> None:
        questions = read_questions(shared_data / "spacer" / "sr_4250.jsonl")
        kinds = Counter(one.problem_type for one in questions)
        # 551 with options; 1000 say left or right; counts, distances and sizes are numbers
        assert kinds == {"multiple choice": 551, "free-form": 1000, "numerical": 2699}
        report = validate(questions, REWARDS["accuracy"]())
        assert report.passed == 4250, str(report)


SQUARE = [0, 0, 10, 10]
ONETHINKER = {
    "multiple choice": "B", "numerical": "2.50", "regression": "31", "OCR": "EXIT",
    "open-ended": "a red chair",
    "temporal grounding": '{"time": [3.5, 7]}', "spatial grounding": json.dumps({"boxes": SQUARE}),
    "spatial-temporal grounding": json.dumps({"time": [0.5, 2.5], "boxes": {"1": SQUARE, "2": SQUARE}}),
    "tracking": json.dumps({"boxes": {"1": SQUARE, "2": SQUARE}}),
}  # fmt: skip


def onethinker(kind: str, **changes: object) -> dict[str, object]:
    """A row in the columns that OneThinker's trainer reads (EasyR1/examples/config_ema_grpo_64.yaml,
    verl/utils/dataset.py at 768b20f): problem, answer, images, videos, data_type, problem_type, options."""
    row: dict[str, object] = {
        "problem_id": 1, "problem": "<video>\nWhat is it?", "data_type": "video", "problem_type": kind,
        "options": ["A. red", "B. blue"] if kind == "multiple choice" else [], "data_source": "STAR",
        "answer": f"<answer>{ONETHINKER[kind]}</answer>", "videos": ["./STAR/a.mp4"],
    }  # fmt: skip
    return row | changes


class TestOneThinker:
    @pytest.mark.parametrize("kind", sorted(ONETHINKER))
    def test_its_types_are_read_and_graded(self, tmp_path: Path, kind: str) -> None:
        bare = onethinker(kind, answer=ONETHINKER[kind], images=[])  # tags around the answer or none
        (tmp_path / "rl.json").write_text(json.dumps([onethinker(kind), bare]))
        found = read_questions(tmp_path / "rl.json")
        for one in found:
            assert (one.problem, one.path, one.data_type) == ("What is it?", "./STAR/a.mp4", "video")
            assert (one.problem_type, one.answer) == (kind, ONETHINKER[kind])
        report = validate(found, REWARDS["accuracy"]())
        assert report.passed == 2, str(report)
        write_questions(tmp_path / "again.jsonl", found)
        assert read_questions(tmp_path / "again.jsonl") == found

    def test_images(self, tmp_path: Path) -> None:
        plain: dict[str, object] = {"problem": "<image>What?", "videos": [], "data_type": "image"}
        rows = [
            onethinker("OCR", **plain, images=["a.jpg"]),
            onethinker("OCR", **plain, images=["a.jpg", "b.jpg"]),
            onethinker("OCR", **plain, images=[]),
        ]
        (tmp_path / "rl.json").write_text(json.dumps(rows))
        found = [(one.path, one.data_type) for one in read_questions(tmp_path / "rl.json")]
        assert found == [("a.jpg", "image"), ("", "images"), ("", "text")]

    def test_conversations(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        said = "<think>So.</think><answer>B</answer>"
        turns = [{"role": "assistant", "content": said}]
        row = {"messages": [{"role": "user", "content": "<video>Which?"}, *turns], "videos": ["a.mp4"]}
        (tmp_path / "sft.json").write_text(json.dumps([row, row]))
        found = read_questions(tmp_path / "sft.json")
        assert [one.problem_id for one in found] == [1, 1]  # the line
        assert (found[0].problem, found[0].answer, found[0].path) == ("Which?", "B", "a.mp4")
        assert found[0].extra["turns"] == turns
        assert read_turns(found[0]) == [("assistant", said)]
        assert "problem, turns and solution from the messages (2 rows)" in caplog.text
        (tmp_path / "sft.json").write_text(json.dumps({"messages": [{"role": "user", "content": "?"}]}))
        with pytest.raises(ValueError, match="lacks problem, problem_type, solution"):
            read_questions(tmp_path / "sft.json")


class TestMaps:
    """SpaceR's maps lie in a file of their own (annotation/cognitive_map.jsonl)."""

    def test_by_the_clips_name(self, tmp_path: Path) -> None:
        row = {"video_id": "scene0024_02", "cognitive_map": {"chair": [[1, 2]]}, "object_list": ["chair"]}
        (tmp_path / "maps.jsonl").write_text(f"{json.dumps(row)}\n\n")
        own = {"table": [[3, 3]]}
        asked = [
            question(path="ScanNet/video/scene0024_02.mp4"),
            question(path="./scene0024_02.avi", cognitive_map=own),
            question(path="scene0024_03.mp4"),
        ]
        maps = [one.cognitive_map for one in with_maps(asked, read_maps(tmp_path / "maps.jsonl"))]
        assert maps == [{"chair": [[1, 2]]}, own, None]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "no map in this file"),
            ("{", "line 1"),
            ('{"video_id": 3}', "line 1: a row needs `video_id`"),
            ('{"video_id": "a", "cognitive_map": {"chair": [[1]]}}', "line 1: map: 'chair' has position"),
            ('{"video_id": "a"}', "line 1: `cognitive_map` must map names"),
        ],
    )
    def test_broken_files(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "maps.jsonl").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_maps(tmp_path / "maps.jsonl")
