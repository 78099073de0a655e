"""Rooms to clips to an evaluation to a page, by the command line, with a random policy of our own."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from chat_world import serving, words_of
from policy_tiny import tiny_policy
from tolman.bench.benchmark import find_benchmark
from tolman.bench.frames import Sampling
from tolman.cli.backends import most_frames, shown_of
from tolman.cli.main import main
from tolman.policy.load import save_policy
from tolman.video.patches import QWEN2_5_VL


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a policy, two rooms and a data set made of them."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("eval")
    save_policy(tiny_policy(), folder / "policy")
    assert main(["scenes", "make", "2", "--difficulty", "0", "--out", str(folder / "rooms.jsonl")]) == 0
    film = ["--frames", "4", "--size", "56x84", "--style", "overhead", "--workers", "1", "--per-family", "1"]
    assert main(["film", str(folder / "rooms.jsonl"), "--out", str(folder / "data"), *film]) == 0
    return folder


def evaluate(place: Path, out: Path, *more: str) -> dict[str, Any]:
    questions = ["--questions", str(place / "data" / "questions.jsonl"), "--out", str(out)]
    model = ["--model", str(place / "policy"), "--max-new-tokens", "6", "--template", "direct"]
    assert main(["eval", *questions, *model, *more, "--json", str(out / "figures.json")]) == 0
    found: dict[str, Any] = json.loads((out / "figures.json").read_text())
    return found


def test_films_the_scenes_once_asks_and_reports(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = ["--scenes", str(place / "rooms.jsonl"), "--workers", "1", "--style", "overhead"]
    found = evaluate(place, tmp_path, *scenes)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert found["total"] == len(rows) > 5
    assert found["unanswered"] == 0
    assert set(found["tasks"]) >= {"room_size_estimation", "object_rel_direction"}
    assert {row["clip"] for row in rows} == {f"clips/{row['scene']}.mp4" for row in rows}
    assert all(row["frames"] == 4 and row["cognitive_map"] for row in rows)
    assert "overall" in capsys.readouterr().out
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "clips").iterdir()}
    evaluate(place, tmp_path, *scenes, "--limit", "3")
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert main(["report", str(tmp_path)]) == 0
    assert "data:image/png" in (tmp_path / "report.html").read_text()


def test_what_is_shown_can_be_taken_away(place: Path, tmp_path: Path) -> None:
    videos = ["--videos", str(place / "data")]
    for clip, shown in (("none", False), ("other", True)):
        found = evaluate(place, tmp_path, *videos, "--clip", clip, "--limit", "4")
        assert found["clip_source"] == clip
        rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
        assert all((row["clip_shown"] != "") == shown and row["clip_shown"] != row["clip"] for row in rows)


def test_frames_are_chosen_and_a_run_is_resumed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [
        "--videos",
        str(place / "data"),
        "--frames",
        "2",
        "--sampling",
        "middle",
        "--resolution",
        "56x56",
    ]
    found = evaluate(place, tmp_path, *shown, "--limit", "4")
    assert [found[name] for name in ("frames", "sampling", "resolution")] == [2, "middle", [56, 56]]
    file = tmp_path / "predictions.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    rows = [json.loads(line) for line in lines]
    # 4 frames at 2 a second: the middles of two halves are frames 1 and 3
    assert all((row["frame_times"], row["frame_size"]) == ([0.5, 1.5], [56, 56]) for row in rows)
    file.write_text("".join(lines[:2]) + lines[2][:40])
    assert evaluate(place, tmp_path, *shown, "--limit", "4", "--resume") == found
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == [row["id"] for row in rows]
    base = ["eval", "--questions", str(place / "data" / "questions.jsonl"), "--out", str(tmp_path)]
    model = ["--model", str(place / "policy"), "--template", "direct", "--max-new-tokens", "6"]
    assert main([*base, *model, *shown, "--limit", "3", "--resume"]) == 2
    assert "cannot resume" in capsys.readouterr().err
    assert main(["score", str(tmp_path), "--json", str(tmp_path / "again.json")]) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["overall"] == pytest.approx(found["overall"])


def test_a_model_behind_a_server(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["eval", "--questions", str(place / "data" / "questions.jsonl"), "--out", str(tmp_path)]
    base += ["--videos", str(place / "data"), "--limit", "3"]
    with serving(lambda body: "3") as world:
        server = ["--server", world.url, "--model", "tiny", "--frames", "3", "--concurrency", "2"]
        assert main([*base, *server, "--json", str(tmp_path / "figures.json")]) == 0
        assert main([*base, "--server", world.url]) == 2
        assert "--server needs --model NAME" in capsys.readouterr().err
        assert main([*base, *server, "--device", "cuda"]) == 2
        assert "--device is for a model in this process" in capsys.readouterr().err
    assert main([*base, "--rate", "60"]) == 2
    assert "are for a --server" in capsys.readouterr().err
    found = json.loads((tmp_path / "figures.json").read_text())
    assert (found["model"], found["template"], found["frames"]) == ("tiny", "vsibench", 3)
    assert len(world.got) == found["total"] == 3
    assert all(words_of(body).startswith("These are frames of a video.") for body in world.got)
    assert {body["max_tokens"] for body in world.got} == {16}
    assert {len(body["messages"][0]["content"]) for body in world.got} == {4}
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [row["raw"] for row in rows] == ["3"] * 3
    with serving(lambda body: "3") as world:
        server = ["--server", world.url, "--model", "tiny", "--json", str(tmp_path / "figures.json")]
        for more, frames in (([], 32), (["--template", "direct"], 16), (["--frames", "2"], 2)):
            assert main([*base, *server, *more]) == 0
            assert json.loads((tmp_path / "figures.json").read_text())["frames"] == frames
    assert main([*base, "--vllm"]) == 2
    assert "--vllm needs --model" in capsys.readouterr().err


def test_clips_are_shown_with_the_benchmarks_frames_unless_something_is_said() -> None:
    own = Sampling(8, size=(56, 56), bounds=QWEN2_5_VL)
    said = Namespace(
        frames=None, fps=None, sampling=None, resolution=None, scenes=None, benchmark="mvbench,ovobench"
    )
    kept = replace(own, size=None)  # the clip's aspect, within the tower's bounds
    assert shown_of(said, own, find_benchmark("mvbench")) == replace(kept, frames=16, rule="middle")
    assert shown_of(said, own, find_benchmark("dsi_bench")) == replace(kept, frames=None, fps=5.0)
    assert shown_of(said, own, find_benchmark("videomme")) == kept  # its authors leave it to the model
    assert shown_of(said, own, find_benchmark("stibench")) == replace(kept, frames=30, max_pixels=360 * 420)
    assert most_frames(said, own) == 64
    more = Namespace(**vars(said) | {"frames": 9})
    assert shown_of(more, own, find_benchmark("mvbench")) == kept
    sized = Namespace(**vars(said) | {"resolution": (28, 56)})
    assert shown_of(sized, own, find_benchmark("videomme")) == replace(own, size=(28, 56))
    filmed = Namespace(**vars(said) | {"scenes": "scenes.json"})
    assert shown_of(filmed, own, find_benchmark("vsibench")) == own
    with pytest.raises(ValueError, match="frames by rate needs --frames N too"):
        most_frames(Namespace(**vars(said) | {"benchmark": "dsi_bench"}), own)


def copied(place: Path, data: Path) -> Path:
    """The data set as a benchmark's folder in a folder of data."""
    shutil.copytree(place / "data" / "clips", data / "vsibench" / "arkitscenes" / "clips")
    lines = (place / "data" / "questions.jsonl").read_text().splitlines()
    (data / "vsibench" / "questions_ours.json").write_text(f"[{','.join(lines[:4])}]")
    (data / "longvideobench" / "videos").mkdir(parents=True)
    clip = next((place / "data" / "clips").iterdir())
    shutil.copy(clip, data / "longvideobench" / "videos" / "u.mp4")
    row = {
        "id": "l0", "question": "Which?", "correct_choice": 1, "candidates": ["x", "y"],
        "video_path": "u.mp4", "question_category": "S2E", "duration_group": 15,
    }  # fmt: skip
    (data / "longvideobench" / "lvb_val.json").write_text(json.dumps([row]))
    return data


def test_several_benchmarks_in_one_command(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = copied(place, tmp_path / "benchmarks"), tmp_path / "out"
    base = ["eval", "--benchmark", "vsibench,longvideobench", "--data", str(data), "--out", str(out)]
    model = ["--model", str(place / "policy"), "--template", "direct", "--max-new-tokens", "6"]
    figures = ["--json", str(out / "figures.json"), "--log", "lmms-eval"]
    assert main([*base, *model, *figures]) == 0
    said = capsys.readouterr()
    assert "longvideobench published: EARL-7B 59.8" in said.out
    found = json.loads((out / "figures.json").read_text())
    assert found == json.loads((out / "summary.json").read_text())
    assert [(line["benchmark"], line["n"]) for line in found["benchmarks"]] == [
        ("vsibench", 4),
        ("longvideobench", 1),
    ]
    assert all(line["unanswered"] == 0 for line in found["benchmarks"])
    assert (out / "summary.md").read_text().count("\n| ") == 4
    assert len(list((out / "longvideobench").glob("*/*_samples_longvideobench.jsonl"))) == 1
    rows = [(out / name / "predictions.jsonl").read_bytes() for name in ("vsibench", "longvideobench")]
    assert main([*base, *model, "--resume"]) == 0
    assert rows == [
        (out / name / "predictions.jsonl").read_bytes() for name in ("vsibench", "longvideobench")
    ]
    assert main(["score", str(out / "vsibench"), "--log", "lmms-eval"]) == 0
    assert len(list((out / "vsibench").glob("*/*_samples_vsibench.jsonl"))) >= 1
    again = out / "again.json"
    assert main(["score", str(out / "longvideobench"), "--json", str(again)]) == 0  # by its own rule
    scored = json.loads(again.read_text())
    assert (scored["benchmark"], scored["total"]) == ("longvideobench", 1)
    assert scored["overall"] == found["benchmarks"][1]["score"]
    # what is missing is said before the model is looked for
    (data / "longvideobench" / "videos" / "u.mp4").unlink()
    nowhere = ["--model", str(tmp_path / "nothing")]
    capsys.readouterr()
    assert main([*base, *nowhere]) == 2
    assert "1 of 1 clips of LongVideoBench are missing (videos/u.mp4)" in capsys.readouterr().err
    assert main([*base, *nowhere, "--allow-missing"]) == 2
    assert "no policy" in capsys.readouterr().err


def test_workers_answer_what_one_process_does(place: Path, tmp_path: Path) -> None:
    videos = ["--videos", str(place / "data"), "--limit", "6", "--batch", "2"]
    rows = []
    for count in ("1", "2"):
        evaluate(place, tmp_path / count, *videos, "--workers", count)
        lines = (tmp_path / count / "predictions.jsonl").read_text().splitlines()
        found = {row["id"]: row for row in map(json.loads, lines)}
        rows.append({key: (row["raw"], row["score"], row["frame_times"]) for key, row in found.items()})
        assert len(lines) == len(found) == 6
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--questions", "q.jsonl"], "--questions goes with --videos or --scenes"),
        (["--videos", "v"], "--questions goes with --videos or --scenes"),
        (["--questions", "q", "--videos", "v", "--data", "d"], "--data and --allow-missing are for"),
        (["--benchmark", "all6", "--audit"], "are for one benchmark"),
        (["--benchmark", "all7"], "no benchmark 'all7'"),
        (["--benchmark", "all6", "--data", "nowhere"], "8 of 8 benchmarks are not complete"),
    ],
)
def test_options_that_do_not_fit(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_workers_are_not_for_servers(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["eval", "--questions", str(place / "data" / "questions.jsonl"), "--videos", str(place / "data")]
    elsewhere = ["--server", "http://127.0.0.1:9/v1", "--model", "tiny", "--out", str(tmp_path)]
    for option, message in [
        (["--workers", "2"], "--workers are for models of ours"),
        (["--ray", "auto"], "--ray is for models in workers of ours"),
    ]:
        assert main([*base, *elsewhere, *option]) == 2
        assert message in capsys.readouterr().err


def test_an_audit(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluate(place, tmp_path, "--videos", str(place / "data"), "--audit", "--limit", "6")
    assert set(found["views"]) == {"true", "none", "one", "shuffled", "other"}
    assert sum(found["categories"]["overall"].values()) == pytest.approx(100)
    assert found == json.loads((tmp_path / "audit.json").read_text())
    assert "llm-answerable" in capsys.readouterr().out
    frames = {}
    for source in found["views"]:
        lines = (tmp_path / source / "predictions.jsonl").read_text().splitlines()
        assert len(lines) == 6
        frames[source] = {json.loads(line)["frames"] for line in lines}
    assert frames == {"true": {4}, "none": {0}, "one": {1}, "shuffled": {4}, "other": {4}}
    assert main(["report", str(tmp_path)]) == 0


def test_an_earlier_run_is_compared_with(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = ["--videos", str(place / "data")]
    alone = evaluate(place, tmp_path / "a", *videos)
    both = evaluate(place, tmp_path / "b", *videos, "--before", str(tmp_path / "a"))
    assert both["evaluations"]["before"]["overall"] == alone["overall"]
    # the same policy on the same clips, greedily: nothing changed
    assert both["difference"]["overall"]["difference"] == 0
    assert "change" in capsys.readouterr().out
    base = ["eval", "--questions", str(place / "data" / "questions.jsonl"), *videos, "--out", str(tmp_path)]
    assert main([*base, "--before", str(tmp_path / "nowhere")]) == 2
    assert "no predictions.jsonl" in capsys.readouterr().err


def test_several_files_of_scenes_make_one_data_set(place: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    assert main(["scenes", "make", "1", "--seed", "50", "--difficulty", "1", "--out", str(more)]) == 0
    film = ["--frames", "2", "--size", "28", "--style", "survey", "--workers", "1"]
    assert main(["film", str(place / "rooms.jsonl"), str(more), "--out", str(tmp_path / "data"), *film]) == 0
    assert len(list((tmp_path / "data" / "clips").iterdir())) == 3


def test_errors(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["eval", "--questions", str(place / "data" / "questions.jsonl"), "--out", str(tmp_path)]
    assert main([*base, "--videos", str(tmp_path / "absent"), "--model", str(place / "policy")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["scenes", "make", "1", "--seed", "900", "--out", str(tmp_path / "other.jsonl")]) == 0
    capsys.readouterr()
    assert main([*base, "--scenes", str(tmp_path / "other.jsonl"), "--model", str(place / "policy")]) == 2
    assert "lacks 2 scenes of the questions: room-d0-000000" in capsys.readouterr().err
    assert main([*base, "--videos", str(place), "--model", str(tmp_path / "nothing")]) == 2
    assert "no policy" in capsys.readouterr().err


def test_train_hands_the_recipe_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "sft.toml"
    recipe.write_text(
        '[run]\nname = "x"\nsteps = 3\n[model]\npath = "starter"\ntemplate = "map"\n[data]\npath = "d"\n'
        '[objective]\nname = "sft"\n[optimiser]\nlr = 1e-3\n[batch]\nclips = 1\n'
        '[loss]\nname = "nll"\nnormalise = "tokens"\n'
    )
    seen: dict[str, Any] = {}

    def train(recipe: Any, *, resume: bool, progress: Any) -> Path:
        seen.update(name=recipe.run.name, lr=recipe.optimiser.lr, resume=resume)
        progress({"step": 1, "loss": 0.5, "lr": 1e-3})
        return tmp_path / "runs" / "mine"

    import tolman.learn.train

    monkeypatch.setattr(tolman.learn.train, "train", train)
    assert main(["train", str(recipe), "--resume", "--run.name", "mine", "--optimiser.lr=2e-3"]) == 0
    assert seen == {"name": "mine", "lr": 2e-3, "resume": True}
    said = capsys.readouterr()
    assert "step 1/3  loss 0.5" in said.err
    assert said.out.strip() == str(tmp_path / "runs" / "mine" / "checkpoints" / "final")
    assert main(["train", str(recipe), "--run.colour", "red"]) == 2
    assert "run.colour" in capsys.readouterr().err
