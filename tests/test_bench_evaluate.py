"""Evaluation: one decode per clip, unreadable clips, what is shown, what is on disk. Answers are scripted."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from policy_tiny import tiny_policy
from tolman.bench import evaluate as module
from tolman.bench import frames
from tolman.bench.backends import in_process
from tolman.bench.backends.backend import Reply, Request
from tolman.bench.backends.in_process import InProcess
from tolman.bench.evaluate import answer_text, evaluate, write_evaluations
from tolman.bench.frames import Sampling, other_scenes, shuffled
from tolman.bench.predictions import read_predictions
from tolman.bench.score import score_rows
from tolman.bench.suites import located
from tolman.bench.summary import summary_line
from tolman.policy.generate import Sample, generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.questions.question import Question
from tolman.video.clip import read_clip
from tolman.video.encode import write_clip
from tolman.video.patches import QWEN2_5_VL, QWEN3_VL


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
    monkeypatch.setattr(in_process, "generate", script)
    return script


def run(policy: Policy, questions: list[Question], root: Path, **options: Any) -> module.Evaluation:
    return evaluate(InProcess(policy), questions, root, **{"template": "map", "max_new_tokens": 8} | options)


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

    monkeypatch.setattr(frames, "read_clip", counted)
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
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
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

    monkeypatch.setattr(in_process, "generate", spy)
    run(policy, [ask(1, "a", "A", "object_rel_direction_easy")], clips, template="vsibench")
    assert prompts[0].startswith(
        "These are frames of a video.\nQuestion 1?\nOptions:\nA. left\nB. right\n"
        "Answer with the option's letter from the given choices directly."
    )


def test_another_benchmark_has_its_own_words_and_rule(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    prompts: list[str] = []

    def spy(policy: Policy, given: Sequence[Prompt], group: int, **options: Any) -> list[list[Sample]]:
        prompts.extend(policy.tokenizer.decode(prompt.question_ids) for prompt in given)
        return [[Sample((1,), "I say B", torch.zeros(1), True)] for _ in given]

    monkeypatch.setattr(in_process, "generate", spy)
    asked = [
        replace(ask(k, "ab"[k - 1], "B"), question_type="Pose", options=("A. x", "B. y")) for k in (1, 2)
    ]
    found = run(policy, asked, clips, template="stibench", benchmark="stibench")
    assert prompts[0].startswith("Question 1?\n(A) x\n(B) y\nPlease output only the option letter!")
    assert found.figures.overall == 100.0  # its official rule takes the last character
    assert list(found.figures.tasks) == ["Pose"]
    write_evaluations(clips / "evaluation.json", {"before": found, "after": found})
    assert json.loads((clips / "evaluation.json").read_text())["difference"]["tasks"]["Pose"]["p"] == 1.0


def test_the_benchmarks_own_words_hand_the_whole_output_to_the_rule(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    said = "<think>so</think><answer>3</answer>"
    scripted(monkeypatch, policy, {1: said})
    asked = run(policy, [ask(1, "a")], clips, template="vsibench")
    assert (asked.rows[0]["prediction"], asked.rows[0]["score"]) == (said, 0.0)  # as its authors score it
    assert summary_line(asked)["strict"] == 100.0
    ours = run(policy, [ask(1, "a")], clips, template="map")
    assert (ours.rows[0]["prediction"], ours.rows[0]["score"]) == ("3", 1.0)


def test_a_rule_that_reads_the_tag_finds_it_whoever_asked(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    said = "<think>so</think><answer>B</answer>"
    scripted(monkeypatch, policy, {1: said})
    asked = replace(ask(1, "a", "B", "object_rel_distance"), question_type="Cam")
    for template in ("dsi_bench", "map"):
        out = clips / template / "predictions.jsonl"
        found = run(policy, [asked], clips, template=template, benchmark="dsi_bench", out=out)
        assert found.figures.overall == 100.0
        assert score_rows(read_predictions(out), "dsi_bench", "official").aggregate["overall"] == 100.0


def test_a_clip_may_be_a_folder_of_its_frames(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    scripted(monkeypatch, policy, {1: "3", 2: "3", 3: "3"})
    for name, count in (("scan", 9), ("none", 0), ("mixed", 2)):
        (clips / "data" / name).mkdir(parents=True)
        for k in range(count):
            shape = (28 * (1 + (name == "mixed") * k), 56, 3)
            Image.fromarray(np.full(shape, 20 * k, np.uint8)).save(clips / "data" / name / f"{k:05d}-rgb.png")
            (clips / "data" / name / f"{k:05d}-depth.png").write_bytes(b"no picture")
    asked = [
        replace(ask(k, "a"), path=f"frames/{name}") for k, name in enumerate(("scan", "none", "mixed"), 1)
    ]
    found, absent = located(asked, clips)
    assert ([each.path for each in found], absent) == (["data/scan", "data/none", "data/mixed"], [])
    rows = run(policy, found, clips, sampling=Sampling(3)).rows
    assert (rows[0]["frame_times"], rows[0]["frame_size"]) == ([0.0, 4.0, 8.0], [28, 56])
    assert "is a folder without frames" in rows[1]["reason"]
    assert "several sizes" in rows[2]["reason"]


def test_a_part_of_a_clip_is_shown_and_clusters_with_the_whole(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, clips: Path
) -> None:
    scripted(monkeypatch, policy, {1: "3", 2: "3"})
    part = replace(ask(1, "a"), path="a.mp4#t=1,2", extra={"source_clip": "a.mp4"})
    found = run(policy, [part, replace(ask(2, "a"), extra={"source_clip": "a.mp4"})], clips)
    # six frames at 2 a second
    assert found.rows[0]["frame_times"] == [1.0, 1.5, 2.0]
    assert max(found.rows[1]["frame_times"]) == 2.5
    assert found.rows[0]["clip"] == "a.mp4#t=1,2"
    assert found.figures.tasks["object_counting"].clips == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_source": "wrong"}, "'wrong' is not one of true, none, one, shuffled, other"),
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
    assert in_process.generate is generate
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

    monkeypatch.setattr(in_process, "generate", noted)
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


def test_one_frame_and_shuffled_frames(
    monkeypatch: pytest.MonkeyPatch, policy: Policy, tmp_path: Path
) -> None:
    greys = np.arange(20, 240, 20, dtype=np.uint8)  # 11 frames, two a second
    write_clip(tmp_path / "a.mp4", np.tile(greys[:, None, None, None], (1, 56, 84, 3)), 2.0, crf=0)
    shown: dict[str, Any] = {}
    for source in ("true", "one", "shuffled"):
        script = scripted(monkeypatch, policy, {1: "3"})
        shown[source] = run(policy, [ask(1, "a")], tmp_path, clip_source=source).rows[0]
        shown[source]["clip"] = script.clips[1]
    # 4 of 11 frames: 0, 3.33, 6.67 and 10, rounded; the middle one of four is the second
    assert shown["true"]["frame_times"] == [0.0, 1.5, 3.5, 5.0]
    assert (shown["one"]["frame_times"], shown["one"]["frames"]) == ([1.5], 1)
    mixed = shown["shuffled"]
    assert sorted(mixed["frame_times"]) == [0.0, 1.5, 3.5, 5.0]
    assert mixed["frame_times"] != [0.0, 1.5, 3.5, 5.0]
    assert mixed["clip"].step_seconds == shown["true"]["clip"].step_seconds  # as if nothing had happened
    straight, turned = (shown[source]["clip"].pixels for source in ("true", "shuffled"))
    assert not torch.equal(straight, turned)
    seen = frames.show(tmp_path, "a.mp4", Sampling(4), "shuffled", seed=0)
    assert seen.source_T.tolist() == mixed["frame_times"]
    for rgb_HWC, seconds in zip(seen.rgb_THWC, seen.source_T, strict=True):
        assert rgb_HWC.mean() == pytest.approx(20 + 40 * seconds, abs=2)  # its frame, two a second
    assert shown["one"]["frame_size"] == [56, 84]


def test_shuffled_is_never_the_true_order() -> None:
    for count in (2, 3, 5):
        for seed in range(20):
            order = shuffled(count, np.random.default_rng(seed)).tolist()
            assert sorted(order) == list(range(count))
            assert order != sorted(order)
    assert shuffled(1, np.random.default_rng(0)).tolist() == [0]


@pytest.mark.parametrize(
    ("sampling", "times", "size"),
    [
        (Sampling(frames=2), [0.0, 5.0], [112, 168]),
        (Sampling(frames=3, rule="interior"), [1.0, 2.5, 4.0], [112, 168]),  # 11 k / 4 = 2.75, 5.5, 8.25
        (Sampling(frames=2, rule="middle"), [1.0, 4.0], [112, 168]),  # 11 / 4 and 3 · 11 / 4 = 2.75, 8.25
        (Sampling(None, fps=1.0), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [112, 168]),
        (Sampling(3, fps=1.0, size=(28, 56)), [0.0, 2.5, 5.0], [28, 56]),
        # half of 112 x 168 pixels: 79.2 x 118.8, rounded down to multiples of 28
        (Sampling(2, bounds=replace(QWEN2_5_VL, min_pixels=1, max_pixels=9408)), [0.0, 5.0], [56, 112]),
        (Sampling(2, bounds=replace(QWEN2_5_VL, min_pixels=1), max_pixels=9408), [0.0, 5.0], [56, 112]),
    ],
)
def test_frames_are_explicit_and_recorded(
    monkeypatch: pytest.MonkeyPatch,
    policy: Policy,
    tmp_path: Path,
    sampling: Sampling,
    times: list[float],
    size: list[int],
) -> None:
    write_clip(tmp_path / "a.mp4", np.full((11, 112, 168, 3), 99, np.uint8), 2.0)
    script = scripted(monkeypatch, policy, {1: "3"})
    found = run(policy, [ask(1, "a")], tmp_path, sampling=sampling)
    row = found.rows[0]
    assert (row["frame_times"], row["frame_size"]) == (times, size)
    patch, steps = policy.patch_spec.patch, -(-len(times) // 2)
    assert script.clips[1].grid_thw.tolist() == [steps, size[0] // patch, size[1] // patch]
    told = [found.settings[name] for name in ("frames", "fps", "sampling", "rule")]
    assert told == [sampling.frames, sampling.fps, sampling.rule, "official"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": None}, "how many frames"),
        ({"frames": 0}, "must be above 0"),
        ({"frames": 2, "fps": -1.0}, "must be above 0"),
        ({"frames": 2, "max_pixels": 0}, "must be above 0"),
        ({"frames": 2, "rule": "best"}, "unknown sampling rule 'best'; known: uniform, interior, middle"),
        ({"frames": 2, "fps": 1.0, "rule": "middle"}, "give no fps"),
    ],
)
def test_samplings_out_of_range(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**arguments)


def test_a_size_is_made_of_the_aspect_and_the_bounds() -> None:
    assert Sampling(2, max_pixels=5000).fit(2, 100, 200) == (50, 100)
    assert Sampling(2, max_pixels=20_001).fit(2, 100, 200) == (100, 200)  # never larger than the file's
    assert Sampling(2, bounds=QWEN2_5_VL).fit(2, 480, 640) == (476, 644)  # 307,200 is within its bounds
    assert Sampling(2, bounds=QWEN2_5_VL).fit(2, 1080, 1920) == (560, 1008)  # 581.9 x 1034.6 of 602,112
    assert Sampling(2, size=(56, 84), bounds=QWEN2_5_VL).fit(2, 480, 640) == (56, 84)
    whole = Sampling(32, bounds=QWEN3_VL)  # its bounds are the whole clip's
    assert whole.fit(32, 480, 640) == QWEN3_VL.frame_size(32, 480, 640)
    half = replace(QWEN3_VL, max_pixels=QWEN3_VL.max_pixels // 2)
    of_a_frame = half.max_pixels // 32
    assert replace(whole, max_pixels=of_a_frame).fit(32, 480, 640) == half.frame_size(32, 480, 640)
    assert half.frame_size(32, 480, 640) != QWEN3_VL.frame_size(32, 480, 640)


def test_a_clip_without_a_possible_size_is_a_recorded_row(policy: Policy, tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", np.full((2, 2, 602, 3), 99, np.uint8), 2.0)
    found = run(policy, [ask(1, "a")], tmp_path, sampling=Sampling(2, bounds=QWEN2_5_VL))
    assert "aspect ratio above 200" in found.rows[0]["reason"]


class Waiting:
    """Answers about a clip when the next one has been asked for, and notes which had been until then."""

    name, sampling = "waiting", Sampling(frames=2)

    def __init__(self, begun: list[str], reading: threading.Condition) -> None:
        self.begun, self.reading, self.seen = begun, reading, [[""][:0]]

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        for number, batch in enumerate(batches):
            with self.reading:
                assert self.reading.wait_for(lambda n=number: len(self.begun) >= min(n + 2, 4), timeout=60)
                self.seen.append(sorted(self.begun))
            for request in batch:
                yield request, Reply("3", 1, True, 0.0)


def test_the_next_clip_is_read_while_the_model_answers_and_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[str] = []
    reading = threading.Condition()
    for scene in "abcd":
        write_clip(tmp_path / f"{scene}.mp4", np.full((2, 32, 64, 3), 40, np.uint8), 2.0)

    def noted(path: Path, **options: Any) -> Any:
        with reading:
            begun.append(path.stem)
            reading.notify_all()
        return read_clip(path, **options)

    monkeypatch.setattr(frames, "read_clip", noted)
    backend = Waiting(begun, reading)
    questions = [ask(k, scene) for k, scene in enumerate("abcd")]
    evaluate(backend, questions, tmp_path, template="map", max_new_tokens=8, batch=1)
    # while it answers about a: a and b; about b: c too; then d, and there is no more
    assert backend.seen[1:] == [["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d"], ["a", "b", "c", "d"]]


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.mp4", "x/../../a.mp4"])
def test_clips_outside_the_folder_are_refused(policy: Policy, tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        run(policy, [replace(ask(1, "a"), path=path)], tmp_path)


def test_an_unreadable_clip_is_a_row_on_disk(policy: Policy, clips: Path) -> None:
    out = clips / "p.jsonl"
    run(policy, [ask(1, "broken"), ask(2, "a")], clips, out=out)
    rows = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert (rows[1]["unanswered"], rows[1]["raw"], rows[1]["score"], rows[1]["frames"]) == (
        True,
        None,
        0.0,
        0,
    )
    assert rows[1]["reason"].startswith("clip cannot be read")
    assert rows[2]["tokens"] > 0
