"""Evaluation: one decode per clip, unreadable clips, what is shown, what is on disk. Answers are scripted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policy_tiny import tiny_policy
from tolman.bench import evaluate as module
from tolman.bench.evaluate import answer_text, evaluate, other_scenes, write_evaluations
from tolman.policy.generate import Sample, generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.questions.question import Question
from tolman.video.clip import read_clip
from tolman.video.encode import write_clip


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.set_num_threads(1)
    return tiny_policy()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for k, scene in enumerate("ab"):
        write_clip(tmp_path / f"{scene}.mp4", np.full((6, 32, 64, 3), 40 + 100 * k, np.uint8), 2.0)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    return tmp_path


def ask(number: int, scene: str, truth: str = "3", kind: str = "object_counting") -> Question:
    options = ("A. left", "B. right") if kind.startswith("object_rel") else None
    return Question(
        number, f"Question {number}?", "video", "multiple choice" if options else "numerical", options,
        f"<answer>{truth}</answer>", f"{scene}.mp4", "test", scene_id=scene, question_type=kind,
    )  # fmt: skip


class Script:
    """Stands in for `generate`: answers by the question's number, and remembers what it was shown."""

    def __init__(self, policy: Policy, answers: dict[int, str]) -> None:
        self.policy, self.answers, self.batches, self.clips = policy, answers, [], {}  # type: ignore[var-annotated]

    def __call__(
        self, policy: Policy, prompts: Sequence[Prompt], group: int, **options: Any
    ) -> list[list[Sample]]:
        assert (group, options) == (1, {"max_new_tokens": 8, "temperature": 0})
        self.batches.append(len(prompts))
        samples = []
        for prompt in prompts:
            words = policy.tokenizer.decode(prompt.question_ids)
            number = int(words.partition("Question ")[2].partition("?")[0])
            self.clips[number] = prompt.clip
            samples.append([Sample((1, 2), self.answers[number], torch.zeros(2), True)])
        return samples


def scripted(monkeypatch: pytest.MonkeyPatch, policy: Policy, answers: dict[int, str]) -> Script:
    script = Script(policy, answers)
    monkeypatch.setattr(module, "generate", script)
    return script


def run(policy: Policy, questions: list[Question], root: Path, **options: Any) -> module.Evaluation:
    return evaluate(policy, questions, root, **{"template": "map", "max_new_tokens": 8} | options)


def test_scores_rows_in_order_with_one_decode_per_clip(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    questions = [ask(1, "a"), ask(2, "b"), ask(3, "a"), ask(4, "b", "B", "object_rel_direction_easy")]
    answers = {
        1: "<think>x</think><answer> 3 </answer>",
        2: "about 3",
        3: "3",
        4: "<answer>B. right</answer>",
    }
    script = scripted(monkeypatch, policy, answers)
    reads: Counter[str] = Counter()

    def counted(path: Path, **options: Any) -> Any:
        reads[Path(path).name] += 1
        return read_clip(path, **options)

    monkeypatch.setattr(module, "read_clip", counted)
    out = clips / "run" / "predictions.jsonl"
    steps: list[tuple[int, int]] = []
    found = run(
        policy, questions, clips, batch=3, out=out, progress=lambda done, total: steps.append((done, total))
    )
    assert [row["id"] for row in found.rows] == [1, 2, 3, 4]
    assert [row["score"] for row in found.rows] == [1.0, 0.0, 1.0, 1.0]
    assert [row["extracted"] for row in found.rows] == ["3", "about", "3", "B"]
    assert [row["frames"] for row in found.rows] == [4] * 4
    assert found.rows[0]["raw"] == answers[1]
    assert found.rows[0]["prediction"] == "3"
    assert reads == {"a.mp4": 1, "b.mp4": 1}
    assert script.batches == [2, 2]  # a clip's questions stay together
    assert script.clips[1] is script.clips[3]
    assert script.clips[1] is not script.clips[2]
    assert steps == [(2, 4), (4, 4)]
    # counting 2 of 3, direction 1: (2/3 + 1) / 2
    assert found.figures.overall == pytest.approx(100 * 5 / 6)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["id"]: row["score"] for row in written} == {1: 1.0, 2: 0.0, 3: 1.0, 4: 1.0}


def test_an_unreadable_clip_leaves_questions_unanswered_and_scored(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    script = scripted(monkeypatch, policy, {1: "3"})
    found = run(policy, [ask(1, "a"), ask(2, "broken"), ask(3, "absent")], clips)
    assert script.batches == [1]
    assert [row["score"] for row in found.rows] == [1.0, 0.0, 0.0]
    assert [row["unanswered"] for row in found.rows] == [False, True, True]
    assert found.rows[1]["reason"].startswith("clip cannot be read: clip ")
    assert "broken.mp4" in found.rows[1]["reason"]
    assert found.rows[1]["raw"] is None
    assert found.figures.unanswered == 2
    assert found.figures.overall == pytest.approx(100 / 3)


def test_no_clip_reads_none(monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path) -> None:
    script = scripted(monkeypatch, policy, {1: "3", 2: "3"})
    found = run(policy, [ask(1, "a"), ask(2, "broken")], clips, clip_source="none")
    assert script.clips == {1: None, 2: None}
    assert [row["frames"] for row in found.rows] == [0, 0]
    assert found.figures.unanswered == 0


def test_another_scenes_clip(monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path) -> None:
    script = scripted(monkeypatch, policy, {1: "3", 2: "3"})
    found = run(policy, [ask(1, "a"), ask(2, "b")], clips, clip_source="other")
    assert [row["clip_shown"] for row in found.rows] == ["b.mp4", "a.mp4"]
    assert [row["clip"] for row in found.rows] == ["a.mp4", "b.mp4"]
    dark, light = script.clips[2].pixels.mean(), script.clips[1].pixels.mean()
    assert dark < light


def test_other_scenes_never_gives_a_scene_itself() -> None:
    for count in range(2, 9):
        names = [f"s{k}" for k in range(count)]
        found = other_scenes(names, seed=count)
        assert sorted(found.values()) == names
        assert all(scene != other for scene, other in found.items())
    assert other_scenes(names, 1) == other_scenes(names[::-1], 1)
    assert other_scenes(names, 1) != other_scenes(names, 2)
    with pytest.raises(ValueError, match="two scenes or more"):
        other_scenes(["a", "a"], 0)


def test_the_benchmarks_own_prompt(monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path) -> None:
    prompts: list[str] = []

    def spy(policy: Policy, given: Sequence[Prompt], group: int, **options: Any) -> list[list[Sample]]:
        prompts.extend(policy.tokenizer.decode(prompt.question_ids) for prompt in given)
        return [[Sample((1,), "A", torch.zeros(1), True)] for _ in given]

    monkeypatch.setattr(module, "generate", spy)
    run(policy, [ask(1, "a", "A", "object_rel_direction_easy")], clips, template="vsibench")
    assert prompts[0].startswith(
        "These are frames of a video.\nQuestion 1?\nOptions:\nA. left\nB. right\n"
        "Answer with the option's letter from the given choices directly."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_source": "wrong"}, "'wrong' is not one of true, none, other"),
        ({"template": "wrong"}, "unknown template 'wrong'; known: .*map.*vsibench"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"rule": "robust"}, "it has: official, strict"),
    ],
)
def test_refuses_before_anything_is_read(policy: Policy, tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(policy, [ask(1, "a")], tmp_path, out=tmp_path / "p.jsonl", **options)
    assert not (tmp_path / "p.jsonl").exists()


def test_refuses_questions_of_no_task(policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="question 1: question_type 'colour'"):
        run(policy, [ask(1, "a", kind="colour")], tmp_path)
    with pytest.raises(ValueError, match="no questions"):
        run(policy, [], tmp_path)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("B", "B"),
        ("<think>A</think><answer> B </answer>", "B"),
        ("<answer>A</answer><answer>B</answer>", "B"),
        ("<answer>B", "<answer>B"),
        ("<think>so <answer>B</answer>", "<think>so <answer>B</answer>"),
    ],
)
def test_answer_text(raw: str, text: str) -> None:
    assert answer_text(raw) == text


def test_two_evaluations_with_their_difference(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    questions = [ask(1, "a"), ask(2, "b")]
    scripted(monkeypatch, policy, {1: "9", 2: "9"})
    before = run(policy, questions, clips)
    scripted(monkeypatch, policy, {1: "3", 2: "9"})
    after = run(policy, questions, clips, true_maps={"a": {"chair": [[1, 2]]}})
    write_evaluations(clips / "evaluation.json", {"before": before, "after": after})
    found = json.loads((clips / "evaluation.json").read_text())
    assert found["difference"]["overall"]["difference"] == pytest.approx(50.0)
    assert found["evaluations"]["after"]["tasks"]["object_counting"]["score"] == pytest.approx(50.0)
    assert found["evaluations"]["after"]["model"] == "starter"
    assert [row["cognitive_map"] for row in after.rows] == [{"chair": [[1, 2]]}, None]


def test_a_real_policy_answers_greedily(policy: Policy, clips: Path) -> None:
    assert module.generate is generate
    questions = [ask(1, "a"), ask(2, "b"), ask(3, "a")]
    first = run(policy, questions, clips, batch=2)
    second = run(policy, questions, clips, batch=3)
    assert [row["raw"] for row in first.rows] == [row["raw"] for row in second.rows]
    assert all(0 < row["tokens"] <= 8 for row in first.rows)


def test_asked_together_or_one_by_one_the_answers_are_the_same(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    questions = [
        replace(ask(k, "aab"[k % 3]), problem=f"Question {k}? " + "And how many more? " * (k % 4))
        for k in range(1, 10)
    ]
    answers: dict[int, tuple[int, ...]] = {}

    def noted(policy: Policy, prompts: Sequence[Prompt], group: int, **rest: Any) -> list[list[Sample]]:
        found = generate(policy, prompts, group, **rest)
        for prompt, (sample,) in zip(prompts, found, strict=True):
            words = policy.tokenizer.decode(prompt.question_ids)
            answers[int(words.partition("Question ")[2].partition("?")[0])] = sample.token_ids
        return found

    monkeypatch.setattr(module, "generate", noted)
    found = []
    for batch in (1, 3, 32):  # 1: one by one; 3: clip a's six questions in two parts; 32: all together
        answers.clear()
        run(policy, questions, clips, batch=batch, max_new_tokens=12)
        found.append(dict(answers))
    assert found[0] == found[1] == found[2]
    assert set(answers) == set(range(1, 10))
    assert len(set(answers.values())) > 2  # not one answer to everything


def test_a_clip_with_more_questions_than_a_batch_is_asked_in_equal_parts(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    questions = [ask(k, "a" if k < 10 else "b") for k in range(12)]
    script = scripted(monkeypatch, policy, dict.fromkeys(range(12), "3"))
    run(policy, questions, clips, batch=8)
    # 10 about a: 5 and 5; 2 about b fit beside the second part
    assert script.batches == [5, 7]
