"""Judges: what they are asked, what is made of their replies, and servers that misbehave."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from judge_world import Scripted
from policy_tiny import tiny_policy
from tolman.policy.judge import PolicyJudge
from tolman.questions.question import Question
from tolman.reward import REWARDS
from tolman.reward.judge import MAX_REPLY, CachedJudge
from tolman.reward.judge_server import MAX_BODY, ServerJudge

OPTIONS = ("A. red", "B. blue")


def ask(answer: str = "B", kind: str = "multiple choice", **evidence: Any) -> Question:
    options = OPTIONS if kind == "multiple choice" else None
    return Question(
        1, "Which?", "video", kind, options, f"<answer>{answer}</answer>", "", "", evidence=evidence
    )


def said(answer: str, thought: str = "I see. It is blue.") -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("reply", "answer", "value"),
    [
        ("<answer>B</answer>", "B", 1),
        ("Well. <answer> (b) </answer>", "B", 1),
        ("<answer>A</answer>", "B", 0),
        ("<answer>NONE</answer>", "B", 0),
        ("<answer>A or B</answer>", "B", math.nan),
        ("<answer>C</answer>", "B", math.nan),  # no option
        ("B", "B", math.nan),
        ("", "B", math.nan),
        (None, "B", math.nan),
    ],
)
def test_the_thought_comes_to_the_answer(reply: str | None, answer: str, value: float) -> None:
    judge = Scripted(reply)
    graded = REWARDS["think_answer_consistency"](judge=judge)(said(answer), ask())
    assert graded.value == pytest.approx(value, nan_ok=True)
    assert ("could not judge" in graded.reason) == math.isnan(value)
    (prompt,) = judge.prompts
    assert "It is blue." in prompt
    assert "A. red\nB. blue" in prompt
    assert "<answer>B" not in prompt  # the judge does not see the answer


def test_numbers_agree_by_degrees() -> None:
    judge = Scripted("<answer>2.5</answer>")
    reward = REWARDS["think_answer_consistency"](judge=judge, gate="none")
    assert reward(said("2"), ask("99", "numerical")).value == pytest.approx(0.6)  # as accuracy would


@pytest.mark.parametrize(
    ("reply", "value"),
    [("TRUE", 1), ("**False** because", 0), ("true.", 1), ("It is TRUE", math.nan), ("TRUEFALSE", math.nan)],
)
def test_verdicts(reply: str, value: float) -> None:
    judge = Scripted(reply)
    graded = REWARDS["think_answer_consistency"](judge=judge, style="verdict")(said("B"), ask())
    assert graded.value == pytest.approx(value, nan_ok=True)
    assert judge.prompts[0].endswith("ANSWER\nB")


def test_nobody_is_asked_in_vain() -> None:
    judge = Scripted()
    reward = REWARDS["think_answer_consistency"](judge=judge)
    assert reward(said("A"), ask()).value == 0  # behind the gate
    assert reward(said("2"), ask("2.5", "numerical")).value == 0  # 0.6 is not right enough
    assert reward("<answer>B</answer>", ask()).value == 0  # no thought
    assert reward("<think>blue</think>", ask()).value == 0  # no answer
    assert reward("<think>blue <answer>B</answer></think>", ask()).value == 0  # in the thought
    assert reward(said("B"), ask("red and blue")).ungraded  # the gate cannot tell
    semantic = REWARDS["semantic_consistency"](judge=judge)
    assert semantic(said("A"), ask(description="a blue chair")).value == 0
    assert semantic(said("B"), ask()).ungraded
    assert semantic(said("B", " "), ask(description="a blue chair")).value == 0
    assert judge.prompts == []


def test_only_the_end_of_an_endless_thought_is_shown() -> None:
    judge = Scripted("TRUE")
    REWARDS["think_answer_consistency"](judge=judge, style="verdict")(said("B", "x" * 99_999 + "blue"), ask())
    assert len(judge.prompts[0]) < 13_000
    assert "xblue\n" in judge.prompts[0]


def test_what_is_said_is_held_against_what_is_to_be_seen() -> None:
    judge = Scripted("TRUE", "FALSE", None)
    reward = REWARDS["semantic_consistency"](judge=judge, gate="none")
    values = [reward(said("A"), ask(description="a blue chair")).value for _ in range(3)]
    assert values[:2] == [1, 0]
    assert math.isnan(values[2])
    assert "a blue chair" in judge.prompts[0]


@pytest.mark.parametrize(("cosine", "value"), [(0.3, 0.6), (0.9, 1), (-0.5, 0), (math.nan, math.nan)])
def test_semantic_similarity(cosine: float, value: float) -> None:
    shown = []

    def similarity(text: str, question: Question) -> float:
        shown.append(text)
        return cosine

    reward = REWARDS["semantic_similarity"](similarity=similarity)
    assert reward(said("B"), ask()).value == pytest.approx(value, nan_ok=True)
    assert reward(said("A"), ask()).value == 0
    assert reward(said("B", "No end"), ask()).value == 0
    assert reward(said("B"), ask("red and blue")).ungraded
    assert shown == ["It is blue."]


def test_options_are_checked() -> None:
    for name in ("think_answer_consistency", "semantic_consistency"):
        with pytest.raises(ValueError, match="gate must be one of"):
            REWARDS[name](judge=Scripted(), gate="half")
        with pytest.raises(ValueError, match="unexpected keyword argument 'host'"):
            REWARDS[name](judge={"host": "x"})
        with pytest.raises(ValueError, match="url must be"):
            REWARDS[name](judge={"url": "file:///etc/hosts", "model": "x"})
    with pytest.raises(ValueError, match="style must be one of"):
        REWARDS["think_answer_consistency"](judge=Scripted(), style="x")


class TestCache:
    def test_in_memory(self) -> None:
        judge = Scripted("one", "two", "three")
        cached = CachedJudge(judge, "m", size=1)
        assert [cached(p).text for p in ("a", "a", "b", "b", "a")] == ["one", "one", "two", "two", "three"]
        assert judge.prompts == ["a", "b", "a"]  # a was forgotten for b

    def test_failures_are_asked_again(self) -> None:
        cached = CachedJudge(Scripted(None, "one"), "m")
        assert cached("a") == (None, "gone")
        assert cached("a") == ("one", "")

    def test_on_disk(self, tmp_path: Path) -> None:
        folder = tmp_path / "replies"
        assert CachedJudge(Scripted("one"), "m", folder)("a").text == "one"
        assert CachedJudge(Scripted(), "m", folder)("a").text == "one"
        assert CachedJudge(Scripted("other"), "another", folder)("a").text == "other"
        assert len(list(folder.iterdir())) == 2

    @pytest.mark.parametrize("broken", ["", "{", "[1]", '{"reply": 1}', '{"reply": "' + "x" * 30_000 + '"}'])
    def test_broken_files_are_no_replies(self, tmp_path: Path, broken: str) -> None:
        CachedJudge(Scripted("one"), "m", tmp_path)("a")
        (file,) = tmp_path.iterdir()
        file.write_text(broken)
        assert CachedJudge(Scripted("two"), "m", tmp_path)("a").text == "two"
        assert json.loads(file.read_text())["reply"] == "two"

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ValueError, match="no folder for a judge's replies"):
            CachedJudge(Scripted(), "m", tmp_path / "file")
        with pytest.raises(ValueError, match="size must be at least 1"):
            CachedJudge(Scripted(), "m", size=0)


def completion(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@contextmanager
def server(*responses: tuple[int, bytes]) -> Iterator[tuple[str, list[Any]]]:
    """A server that gives these responses in turn; its address, and the requests it got."""
    left, got = list(responses), [None][:0]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, body, self.headers.get("Authorization")))
            status, content = left.pop(0)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            if content != b"drip":
                self.wfile.write(content)
                return
            while not closing.wait(0.02):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    closing = threading.Event()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/v1", got
    finally:
        closing.set()
        listening.shutdown()
        listening.server_close()


class TestServer:
    def test_what_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JUDGE_KEY", "secret")
        with server((200, completion("TRUE"))) as (url, got):
            judge = ServerJudge(url, "m", max_tokens=5, key_variable="JUDGE_KEY")
            assert judge("Is it \ud800?") == ("TRUE", "")
        ((path, body, key),) = got
        assert path == "/v1/chat/completions"
        assert body["messages"] == [{"role": "user", "content": "Is it \ud800?"}]
        assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 5, 0)
        assert key == "Bearer secret"

    def test_busy_servers_are_asked_again(self) -> None:
        waits: list[float] = []
        with server((503, b""), (429, b""), (200, completion("TRUE"))) as (url, got):
            assert ServerJudge(url, "m", sleep=waits.append)("?").text == "TRUE"
        assert len(got) == 3
        assert waits == [1, 2]

    def test_but_not_for_ever(self) -> None:
        with server((500, b""), (500, b"")) as (url, _):
            reply = ServerJudge(url, "m", attempts=2, wait=0)("?")
        assert reply == (None, "the judge failed 2 times, last: status 500")

    @pytest.mark.parametrize(
        ("status", "body", "reason"),
        [
            (400, b"no", "status 400"),
            (302, b"", "status 302"),  # followed nowhere
            (200, b"", "no chat completion"),
            (200, b"[" * 100_000, "no chat completion"),
            (200, b'{"choices": []}', "no chat completion"),
            (200, b'{"choices": [[]]}', "no chat completion"),
            (200, b'{"choices": [{"message": {"content": null}}]}', "is empty"),
            (200, completion(" "), "is empty"),
            (200, completion("x" * (MAX_REPLY + 1)), "longer than 20000 characters"),
            (200, b"x" * (MAX_BODY + 9), "longer than 1000000 bytes"),
            (200, b"\xff\xfe\x00", "no chat completion"),
        ],
    )
    def test_hostile_responses(self, status: int, body: bytes, reason: str) -> None:
        with server((status, body)) as (url, got):
            reply = ServerJudge(url, "m", wait=0)("?")
        assert reply.text is None
        assert reason in reply.reason
        assert len(got) == 1  # asking again would not help

    def test_a_server_that_never_ends(self) -> None:
        with server((200, b"drip")) as (url, _):
            reply = ServerJudge(url, "m", seconds=0.3, attempts=1)("?")
        assert reply.text is None
        assert "no whole response within 0.3 s" in reply.reason

    def test_nobody_there(self) -> None:
        with server() as (url, _):
            pass
        assert "failed 2 times" in ServerJudge(url, "m", attempts=2, wait=0)("?").reason

    @pytest.mark.parametrize(
        "url",
        ["", "localhost", "ftp://x", "http://", "http://x:0/v1", "http://me@x", "http://x?y", "http://ü"],
    )
    def test_addresses(self, url: str) -> None:
        with pytest.raises(ValueError, match="url must be"):
            ServerJudge(url, "m")

    def test_numbers_and_keys(self) -> None:
        with pytest.raises(ValueError, match="attempts"):
            ServerJudge("http://x", "m", attempts=0)
        with pytest.raises(ValueError, match="NO_SUCH_KEY holds no key"):
            ServerJudge("http://x", "m", key_variable="NO_SUCH_KEY")

    def test_from_a_recipes_table(self, tmp_path: Path) -> None:
        with server((200, completion("FALSE"))) as (url, got):
            table = {"url": url, "model": "m", "cache": str(tmp_path)}
            reward = REWARDS["think_answer_consistency"](judge=table, style="verdict")
            assert [reward(said("B"), ask()).value for _ in range(2)] == [0, 0]
        assert len(got) == 1  # the second came from the cache


class TestPolicy:
    def test_it_replies_the_same_each_time(self) -> None:
        judge = PolicyJudge(tiny_policy(), max_new_tokens=4)
        first = judge("Is it blue? TRUE or FALSE.")
        assert first.text is not None or first.reason == "the judge's reply is empty"
        assert judge("Is it blue? TRUE or FALSE.") == first
        assert "greedy, 4 tokens" in judge.name

    def test_long_prompts_are_refused(self) -> None:
        reply = PolicyJudge(tiny_policy(), max_prompt_tokens=50)("x" * 500)
        assert reply.text is None
        assert "at most 50 are taken" in reply.reason
        with pytest.raises(ValueError, match="at least 1"):
            PolicyJudge(tiny_policy(), max_new_tokens=0)
