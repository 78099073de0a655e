"""The command line: help, errors in one line, and the commands that need no model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tolman.bench.benchmark import registry, rule_names
from tolman.cli import main as module
from tolman.cli.eval_command import own_template, thinned
from tolman.cli.main import build_parser, main
from tolman.cli.shared import frame_size
from tolman.cli.train_command import overrides
from tolman.data.scene_io import read_scenes

ROW: dict[str, Any] = {
    "id": 1, "question_type": "object_rel_distance", "ground_truth": "B", "options": ["A. tv", "B. bed"],
    "prediction": "B. bed", "peer_score": 1.0, "peer_extracted": "B",
}  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that an error of the user's prints."""
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert said.startswith("tolman: error: ")
    assert said.count("\n") == 1
    return said


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tolman.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'scipy', 'av', 'rich', 'embreex'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("quickstart", "scenes", "film", "data", "train", "eval", "score", "report"):
        assert f"\n    {name} " in said
    assert said.endswith("heavy: []\n")


@pytest.mark.parametrize(
    "command",
    [
        "quickstart",
        "scenes make",
        "film",
        "data build",
        "data audit",
        "data validate",
        "plan",
        "train",
        "eval",
        "score",
        "report",
    ],
)
def test_every_command_has_a_manual_with_an_example_that_parses(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    example = said.rpartition("example:\n  tolman ")[2].split()
    assert example[: len(command.split())] == command.split()
    arguments, rest = build_parser().parse_known_args(example)
    assert callable(arguments.run)
    assert not rest or getattr(arguments, "takes_overrides", False)


def test_score_writes_rows_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ROW | {"id": 2, "prediction": "(B)", "peer_score": 1.0, "peer_extracted": "B"}
    file = write(tmp_path / "p.jsonl", [ROW, wrong])
    out = tmp_path / "new" / "scores.json"
    assert main(["score", str(file), "--rows", str(tmp_path / "rows.jsonl"), "--json", str(out)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [(row["score"], row["extracted"]) for row in rows] == [(1.0, "B"), (0.0, "(B)")]
    found = json.loads(out.read_text())
    assert (found["overall"], found["total"], found["agree"]) == (50.0, 2, 1)
    # two rows, each its own cluster: variance 2/1 · 2 · (1/4)² = 1/4
    assert found["stderr"] == pytest.approx(50.0)
    assert found["tasks"]["object_rel_distance"]["chance"] == 50.0
    assert found["aggregate"]["object_rel_distance_accuracy"] == 50.0
    shown = capsys.readouterr().out
    assert "object_rel_distance" in shown
    assert "1 of 2 rows agree" in shown


def test_errors_are_one_line_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(write(tmp_path / "p.jsonl", [ROW]))
    assert "no rule 'robust'; it has: official, strict" in failure(capsys, "score", file, "--rule", "robust")
    assert "absent.jsonl: cannot be read" in failure(capsys, "score", str(tmp_path / "absent.jsonl"))
    assert "no such folder" in failure(capsys, "report", str(tmp_path / "absent"))
    assert "must end in .jsonl" in failure(
        capsys, "scenes", "make", "1", "--out", str(tmp_path / "rooms.txt")
    )
    assert "unrecognised argument 'x'" in failure(capsys, "train", "r.toml", "x")
    assert "no recipe at" in failure(capsys, "train", str(tmp_path / "r.toml"), "--run.name", "y")


def test_faults_of_ours_show_their_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = str(write(tmp_path / "p.jsonl", [ROW]))
    with pytest.raises(ValueError, match="no rule"):
        main(["--full-traceback", "score", file, "--rule", "robust"])

    def broken(arguments: Any) -> None:
        int("a value error from outside our package")

    monkeypatch.setattr(module.score_command, "run", broken)
    with pytest.raises(ValueError, match="invalid literal"):
        main(["score", file])


def test_unknown_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["report", "run", "--colour"])
    assert ended.value.code == 2
    assert "unrecognised arguments: --colour" in capsys.readouterr().err
    for argv in (
        ["film", "s", "--out", "o", "--size", "0x4"],
        ["scenes", "make", "-1", "--out", "o.jsonl"],
        ["scenes", "make", "1", "--side", "6", "--out", "o.jsonl"],
        [],
    ):
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == 2


def test_overrides() -> None:
    assert overrides(["--optimiser.lr", "-1e-5", "--run.name=a=b"]) == ["optimiser.lr=-1e-5", "run.name=a=b"]
    with pytest.raises(ValueError, match=r"--run\.name has no value"):
        overrides(["--run.name"])
    with pytest.raises(ValueError, match="unrecognised argument '--steps'"):
        overrides(["--steps", "3"])


def test_sizes_and_limits(tmp_path: Path) -> None:
    assert frame_size("448") == (448, 448)
    assert frame_size("360x640") == (360, 640)
    assert thinned(list(range(10)), 4) == [0, 2, 5, 7]  # type: ignore[arg-type]
    assert thinned([1, 2], 5) == [1, 2]  # type: ignore[arg-type]
    assert own_template("starter") == "map"
    assert own_template("Qwen/Qwen2.5-VL-7B-Instruct") == "vsibench"
    (tmp_path / "checkpoints" / "final").mkdir(parents=True)
    (tmp_path / "recipe.toml").write_text('[model]\ntemplate = "spacer"\n')
    assert own_template(str(tmp_path / "checkpoints" / "final")) == "spacer"


def test_audit_of_the_arkit_part(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "vsibench"
    scenes, questions = folder / "scenes_arkitscenes.json", folder / "questions_arkitscenes.json"
    assert main(["data", "audit", str(scenes), str(questions), "--json", str(tmp_path / "a.json")]) == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["total"] == 1601
    assert found["agree"] <= found["computable"] <= found["total"]
    assert set(found["tasks"]["object_counting"]) >= {"total", "computable", "agree"}
    assert "object_counting" in capsys.readouterr().out


def test_rooms_are_made_and_validated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rooms = tmp_path / "deep" / "rooms.jsonl"
    assert main(["scenes", "make", "2", "--seed", "5", "--difficulty", "0", "--out", str(rooms)]) == 0
    assert len(rooms.read_text().splitlines()) == 2
    halls = tmp_path / "halls.jsonl"
    assert main(["scenes", "make", "2", "--side", "6,9", "--out", str(halls)]) == 0
    assert all(scene.floor_area > 36 for scene in read_scenes(halls))
    capsys.readouterr()
    assert "3 to 20 m" in failure(capsys, "scenes", "make", "1", "--side", "1,9", "--out", str(halls))
    good = {
        "problem_id": 1, "problem": "How many?", "data_type": "video", "problem_type": "numerical",
        "options": None, "solution": "<answer>3</answer>", "path": "a.mp4", "data_source": "x",
    }  # fmt: skip
    bad = good | {"problem_id": 2, "solution": "<answer>three or four</answer>"}
    assert main(["data", "validate", str(write(tmp_path / "good.jsonl", [good]))]) == 0
    capsys.readouterr()
    out = tmp_path / "v.json"
    said = failure(
        capsys, "data", "validate", str(write(tmp_path / "bad.jsonl", [good, bad])), "--json", str(out)
    )
    assert "1 of 2 rows" in said
    found = json.loads(out.read_text())
    assert (found["total"], found["passed"], found["failures"][0]["problem_id"]) == (2, 1, 2)


def test_every_row_that_fails_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "problem_id": 1, "problem": "Which?", "data_type": "video", "problem_type": "multiple choice",
        "options": ["A. red", "B. blue"], "solution": "<answer>B</answer>", "path": "rooms/a.mp4",
    }  # fmt: skip
    rows = [row, row | {"problem_id": "alone", "options": ["A. red"], "solution": "A"}]
    rows += [row | {"problem_type": "OCR"}, row | {"cognitive_map": [1]}]
    file = write(tmp_path / "rows.jsonl", rows)
    file.write_text(file.read_text() + "no JSON\n")
    assert main(["data", "validate", str(file), "--json", str(tmp_path / "v.json")]) == 2
    said = capsys.readouterr()
    assert "line 4: `cognitive_map` must map names" in said.out
    assert "line 5: not JSON" in said.out
    assert "alone: no grade: no option is wrong: ('A. red',)" in said.out
    assert "3 of 5 rows" in said.err
    found = json.loads((tmp_path / "v.json").read_text())
    assert [one["line"] for one in found["broken"]] == [4, 5]
    assert (found["total"], found["passed"], found["left_out"]) == (5, 2, 0)


def test_a_recipe_says_which_rows_and_with_which_maps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {
        "problem_id": 1, "problem": "Which?", "data_type": "video", "problem_type": "multiple choice",
        "options": ["A. red", "B. blue"], "solution": "<answer>B</answer>", "path": "rooms/a.mp4",
    }  # fmt: skip
    number = row | {"problem_type": "numerical", "options": None, "solution": "<answer>3</answer>"}
    rows = write(tmp_path / "rows.jsonl", [row, number, row | {"problem_type": "OCR"}])
    recipe = Path(__file__).resolve().parents[1] / "recipes" / "spacer-7b-published.toml"
    monkeypatch.chdir(tmp_path)
    command = ["data", "validate", str(rows), "--recipe", str(recipe)]
    assert main(command) == 2
    assert "cognitive_map.jsonl: cannot be read" in capsys.readouterr().err
    folder = tmp_path / "data" / "SpaceR-151k"
    folder.mkdir(parents=True)
    maps = [{"video_id": "a", "cognitive_map": {"chair": [[1, 2]], "table": [[7, 7]]}}]
    write(folder / "cognitive_map.jsonl", maps)
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "2 of 2 rows pass" in said
    assert f"rows that {recipe} leaves out: 1" in said
    write(folder / "cognitive_map.jsonl", [maps[0] | {"video_id": "b"}])
    assert main(command) == 2
    assert "holds no map of any clip" in capsys.readouterr().err


def test_benchmarks_are_listed_with_whole_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--list"]) == 0
    words = capsys.readouterr().out.split()
    for name, entry in registry().items():
        assert {name, *rule_names(entry)} <= set(words)


def test_recipes_that_the_code_names_are_there() -> None:
    root = Path(__file__).resolve().parents[1]
    named = {
        (file.name, name)
        for file in (root / "src").rglob("*.py")
        for name in re.findall(r"recipes/[\w.-]+\.toml", file.read_text(encoding="utf-8"))
    }
    assert named
    assert [place for place in sorted(named) if not (root / place[1]).is_file()] == []
