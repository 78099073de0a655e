"""Backends: a real policy behind a real server, servers that misbehave, and what is sent to them."""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from chat_world import World, completion, frames_of, served, serving, words_of
from policy_tiny import tiny_policy
from tolman.bench.backends.backend import Reply, Request
from tolman.bench.backends.images import clip_parts, jpeg
from tolman.bench.backends.in_process import InProcess
from tolman.bench.backends.pace import Pace, retry_after
from tolman.bench.backends.server import Server
from tolman.bench.backends.vllm_engine import VllmEngine
from tolman.bench.evaluate import Evaluation, evaluate
from tolman.bench.frames import Sampling, Shown
from tolman.policy.policy import Policy
from tolman.questions.question import Question
from tolman.video.encode import write_clip

FOUR = Sampling(frames=4, size=(56, 84))


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.set_num_threads(1)
    return tiny_policy()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of four plain frames, half a second apart: what JPEG keeps exactly."""
    folder = tmp_path_factory.mktemp("clips")
    for k, scene in enumerate("ab"):
        greys = np.arange(40 + 90 * k, 80 + 90 * k, 10, dtype=np.uint8)
        write_clip(folder / f"{scene}.mp4", np.tile(greys[:, None, None, None], (1, 56, 84, 3)), 2.0, crf=0)
    return folder


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made; none is."""
    found: list[float] = []
    monkeypatch.setattr(Pace, "rest", lambda _, seconds: found.append(seconds) if seconds else None)
    return found


def questions(count: int) -> list[Question]:
    return [
        Question(
            k, f"Question {k}: how many chairs?", "video", "numerical", None, "<answer>3</answer>",
            f"{'ab'[k % 2]}.mp4", "test", scene_id="ab"[k % 2], question_type="object_counting",
        )
        for k in range(count)
    ]  # fmt: skip


def three(_: dict[str, Any]) -> str:
    return "3"


def ask(world: World, clips: Path, count: int = 4, out: Path | None = None, **options: Any) -> Evaluation:
    server = Server(world.url, "tiny", FOUR, **{"concurrency": 1, "pause": 0.0} | options)
    return evaluate(
        server, questions(count), clips, template="vsibench", max_new_tokens=6, out=out, resume=True
    )


def test_a_policy_behind_a_server_answers_as_in_this_process(policy: Policy, clips: Path) -> None:
    asked = questions(6)
    here = evaluate(InProcess(policy), asked, clips, template="map", max_new_tokens=6)
    with serving(served(policy, 0.5)) as world:
        server = Server(world.url, "tiny", FOUR, concurrency=3)
        there = evaluate(server, asked, clips, template="map", max_new_tokens=6)
    assert [row["raw"] for row in there.rows] == [row["raw"] for row in here.rows]
    assert len({row["raw"] for row in here.rows}) > 1
    assert [row["frame_times"] for row in there.rows] == [[0.0, 0.5, 1.0, 1.5]] * 6
    assert [row["tokens"] for row in there.rows] == [2] * 6  # as the server says
    body = next(body for body in world.got if "Question 0:" in words_of(body))
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny", 0, 6)
    assert len(world.got) == 6
    seen = frames_of(body)
    assert seen is not None
    assert seen.shape == (4, 56, 84, 3)
    assert [round(float(frame.mean()) / 10) for frame in seen] == [4, 5, 6, 7]


@pytest.mark.parametrize(
    "fault",
    [(429, {}), (500, {}), (503, {}), "drop", "half", b'{"choices": [', b"[]", completion(None)[:-1]],
    ids=["429", "500", "503", "dropped", "half", "malformed", "list", "cut"],
)
def test_what_asking_again_mends(clips: Path, rests: list[float], fault: Any) -> None:
    with serving(three) as world:
        world.faults = [fault, fault]
        found = ask(world, clips, pause=1.0)
    assert [row["score"] for row in found.rows] == [1.0] * 4
    assert len(world.got) == 6
    assert rests == [1.0, 2.0]  # doubled


def test_a_server_that_sends_for_ever_is_hung_up_on(clips: Path) -> None:
    with serving(three) as world:
        world.faults = ["slow"]
        found = ask(world, clips, count=2, seconds=2.0)
    assert [row["raw"] for row in found.rows] == ["3", "3"]
    assert len(world.got) >= 3


def test_retry_after_is_honoured(clips: Path, rests: list[float]) -> None:
    with serving(three) as world:
        world.faults = [(429, {"Retry-After": "30"})]
        ask(world, clips, count=1, pause=1.0)
        assert max(rests) == 30.0
        world.faults = [(503, {"Retry-After": "7200"})]
        with pytest.raises(ValueError, match="status 503; it asks for a pause of 7200 s"):
            ask(world, clips, count=1)


def test_a_server_that_dies_and_returns(clips: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(three) as world:

        def dying(body: dict[str, Any]) -> str:
            if len(world.got) == 2:
                threading.Thread(target=world.die).start()
            return "3"

        attempts: list[float] = []

        def rest(_: Pace, seconds: float) -> None:
            attempts.append(seconds)
            if len(attempts) == 3:
                world.start()

        world.answer = dying
        monkeypatch.setattr(Pace, "rest", lambda pace, seconds: rest(pace, seconds) if seconds else None)
        found = ask(world, clips, count=5, pause=1.0, out=tmp_path / "p.jsonl")
    assert [row["score"] for row in found.rows] == [1.0] * 5
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert sorted(line["number"] for line in lines) == [0, 1, 2, 3, 4]


def test_a_server_that_stays_away_ends_the_run_and_a_resumed_one_asks_the_rest(
    clips: Path, rests: list[float], tmp_path: Path
) -> None:
    out = tmp_path / "p.jsonl"
    with serving(three) as world:
        world.faults = [None, None, *[(500, {})] * 3]
        with pytest.raises(ValueError, match=r"failed 3 times, last: status 500"):
            ask(world, clips, out=out, attempts=3)
        assert len(out.read_text().splitlines()) == 2
        first = [words_of(body) for body in world.got[:2]]
        world.got.clear()
        found = ask(world, clips, out=out, attempts=3)
    assert len(found.rows) == len(out.read_text().splitlines()) == 4
    again = [words_of(body) for body in world.got]
    assert len(again) == 2
    assert not set(again) & set(first)


def test_the_others_answers_are_kept_when_one_fails(clips: Path, tmp_path: Path) -> None:
    out, failing = tmp_path / "p.jsonl", threading.Barrier(2, timeout=60)

    def answer(body: dict[str, Any]) -> str:
        failing.wait()  # both are under way
        if "Question 0" in words_of(body):
            raise ConnectionError
        return "3"

    with serving(answer) as world:
        with pytest.raises(ValueError, match="failed 1 times"):
            ask(world, clips, count=2, concurrency=2, attempts=1, out=out)
        failing.abort()
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [1]


def test_what_concerns_one_question_is_its_row_and_what_concerns_all_ends_the_run(clips: Path) -> None:
    with serving(three) as world:
        world.faults = [None, (400, {})]
        found = ask(world, clips)
        assert [row["unanswered"] for row in found.rows] == [False, False, True, False]  # clip a comes first
        assert found.rows[2]["reason"] == "the server refuses with status 400: busy"
        assert found.rows[2]["raw"] is None
        for status in (401, 404, 302):
            world.faults = [(status, {"Location": "/elsewhere"})]
            with pytest.raises(ValueError, match=f"answers with status {status}"):
                ask(world, clips)


@pytest.mark.parametrize(
    ("body", "text", "tokens", "finished"),
    [
        (completion("B"), "B", 2, True),
        (completion(None), "", 2, True),
        (completion("B\ud800"), "B?", 2, True),
        (completion("B", finish_reason="length"), "B", 2, False),
        (b'{"choices": [{"message": {"content": "B"}}], "usage": null}', "B", None, False),
        (b'{"choices": [{"message": {"content": "B"}}], "usage": {"completion_tokens": 2.5}}', "B", None, 0),
    ],
)  # fmt: skip
def test_what_is_read_from_a_response(
    clips: Path, body: bytes, text: str, tokens: int | None, finished: bool
) -> None:
    with serving(three) as world:
        world.faults = [body]
        row = ask(world, clips, count=1).rows[0]
    assert (row["raw"], row["tokens"], row["finished"]) == (text, tokens, finished)


def test_concurrency_is_used_and_bounded(clips: Path) -> None:
    together = threading.Barrier(3, timeout=60)

    def answer(_: dict[str, Any]) -> str:
        together.wait()
        return "3"

    with serving(answer) as world:
        found = ask(world, clips, count=6, concurrency=3)
    assert world.at_once == 3
    assert found.figures.unanswered == 0


def test_the_key_is_sent(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    with serving(three) as world:
        ask(world, clips, count=1, key_variable="SOME_KEY")
    assert world.keys == ["Bearer secret"]


@pytest.mark.parametrize(
    "options",
    [
        {"url": "nowhere"},
        {"form": "gif"},
        {"concurrency": 0},
        {"attempts": 0},
        {"seconds": 0},
        {"pause": -1},
        {"per_minute": 0},
        {"key_variable": "NO_SUCH_VARIABLE"},
    ],
)
def test_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"url|sent as|at least 1|per_minute|no key"):
        Server(**{"url": "http://localhost:1/v1", "model": "m"} | options)


def test_pace() -> None:
    now = [100.0]
    pace = Pace(30, threading.Event(), clock=lambda: now[0])
    assert [pace.slot() for _ in range(3)] == [0.0, 2.0, 4.0]  # 30 a minute
    now[0] = 110.0
    assert [pace.slot(), pace.slot()] == [0.0, 2.0]
    pace.hold(60)
    assert [pace.slot(), pace.slot()] == [60.0, 62.0]
    free = Pace(None, threading.Event(), clock=lambda: now[0])
    assert [free.slot() for _ in range(3)] == [0.0] * 3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("7", 7),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0),
        ("soon", 0),
        ("Fri, 20 Nov 99999999999 11:00:00 GMT", 0),
        ("-3", 0),
    ],
)
def test_retry_after(header: str | None, seconds: float) -> None:
    assert retry_after(header, datetime(2026, 11, 20, 12, tzinfo=UTC)) == seconds


def gradient() -> Shown:
    rgb = np.zeros((3, 56, 84, 3), np.uint8)
    rgb[..., 0], rgb[..., 1], rgb[..., 2] = np.arange(84) * 3, np.arange(56)[:, None] * 4, 128
    rgb[1], rgb[2] = rgb[1, ::-1], 255 - rgb[2]
    times = np.array([0.0, 0.5, 1.0])
    return Shown("g.mp4", rgb, times, times)


@pytest.mark.parametrize(("form", "parts", "close"), [("images", 3, 5), ("video", 1, 12)])
def test_frames_survive_the_way(form: str, parts: int, close: int) -> None:
    shown = gradient()
    sent = clip_parts(shown, form)
    assert len(sent) == parts
    back = frames_of({"messages": [{"content": sent}]})
    assert back is not None
    assert np.abs(back.astype(int) - shown.rgb_THWC).max() <= close
    assert jpeg(shown.rgb_THWC[0]) == jpeg(shown.rgb_THWC[0])
    with pytest.raises(ValueError, match="sent as one of images, video"):
        clip_parts(shown, "gif")


class Engine:
    """`vllm.LLM` as it is documented: `chat` takes lists of turns and gives outputs in their order."""

    def __init__(self, **options: Any) -> None:
        Engine.options = options
        Engine.asked = [""][:0]

    def chat(self, messages: list[list[dict[str, Any]]], params: Any, *, use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        outputs = []
        for (turn,) in messages:
            body = {"messages": [turn]}
            frames = frames_of(body)
            Engine.asked.append(words_of(body))
            said = f"{0 if frames is None else len(frames)} {params.temperature} {params.max_tokens}"
            answer = SimpleNamespace(text=said, token_ids=(1, 2, 3), finish_reason="length")
            outputs.append(SimpleNamespace(outputs=[answer]))
        return outputs


def test_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ValueError, match="vLLM cannot be imported"):
        VllmEngine("m", FOUR, 4)
    module = SimpleNamespace(LLM=Engine, SamplingParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", module)
    backend = VllmEngine("some/model", FOUR, 4)
    assert Engine.options["limit_mm_per_prompt"] == {"image": 4}
    assert (Engine.options["load_format"], Engine.options["trust_remote_code"]) == ("safetensors", False)
    shown = gradient()
    batch = [Request(5, "First?", shown), Request(6, "Second?", None)]
    found = dict(backend.replies([batch], 9))
    assert [found[one]._replace(seconds=0.0) for one in batch] == [
        Reply("3 0.0 9", 3, False, 0.0),
        Reply("0 0.0 9", 3, False, 0.0),
    ]
    assert Engine.asked == ["First?", "Second?"]
