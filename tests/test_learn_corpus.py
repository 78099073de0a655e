"""Which questions a step draws."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from learn_world import question_row
from tolman.learn.corpus import ClipQuestions, check_gold, draw, is_held_out, load_corpus
from tolman.learn.recipe import make_rewards
from tolman.learn.sections import Data
from tolman.learn.stages import load_stages
from tolman.questions.question import Question
from tolman.reward import REWARDS, Composed, Part


def write(folder: Path, rows: list[dict[str, object]]) -> Path:
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def clips(count: int, questions: int) -> list[ClipQuestions]:
    return [
        ClipQuestions(
            f"{c}",
            Path(f"{c}"),
            tuple(Question.from_row(question_row(f"{c}-{q}", f"{c}", 1)) for q in range(questions)),
        )
        for c in range(count)
    ]


def test_an_epoch_sees_every_clip_once_and_questions_take_turns() -> None:
    data = clips(5, 3)
    seen = [entry for step in range(5) for entry in draw(data, 7, step, 3, 1)]  # 15 draws: 3 epochs of 5
    for epoch in range(3):
        assert {entry.clip.name for entry in seen[5 * epoch : 5 * epoch + 5]} == {"0", "1", "2", "3", "4"}
    asked = Counter(entry.questions[0].problem_id for entry in seen)
    assert len(asked) == 15
    assert set(asked.values()) == {1}


def test_epochs_and_seeds_differ() -> None:
    data = clips(8, 1)
    orders = {
        (seed, epoch): [e.clip.name for e in draw(data, seed, epoch, 8, 1)]
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4


def test_draw_is_a_pure_function() -> None:
    data = clips(6, 4)
    later = draw(data, 3, 11, 4, 2)
    for step in range(11):
        draw(data, 3, step, 4, 2)
    assert draw(data, 3, 11, 4, 2) == later
    assert all(len({question.problem_id for question in entry.questions}) == 2 for entry in later)
    assert all(len(entry.questions) == 4 for entry in draw(data, 3, 0, 2, 9))


def test_clips_filters_and_holdout(tmp_path: Path) -> None:
    rows = [question_row(f"{k}", f"clips/{k // 2}.mp4", 1) for k in range(40)]
    rows[0]["question_type"] = "room_size_estimation"
    folder = write(tmp_path, rows)
    everything = load_corpus(Data(path=str(folder)))
    assert [len(clip.questions) for clip in everything.training] == [2] * 20
    assert everything.training[3].file == folder / "clips" / "3.mp4"
    one = load_corpus(
        Data(path=str(folder / "questions.jsonl"), families=("room_size_estimation",), clips="/elsewhere")
    )
    assert [clip.file for clip in one.training] == [Path("/elsewhere/clips/0.mp4")]
    split = load_corpus(Data(path=str(folder), holdout=0.4))
    names = {clip.name for clip in split.training}
    held_out = {clip.name for clip in split.held_out}
    assert not names & held_out
    assert len(names | held_out) == 20
    assert held_out == {f"clips/{k}.mp4" for k in range(20) if is_held_out(f"clips/{k}.mp4", 0.4)}
    assert {clip.name for clip in load_corpus(Data(path=str(folder), holdout=0.2)).held_out} <= held_out


def test_wrong_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.path: no questions at .*absent"):
        load_corpus(Data(path=str(tmp_path / "absent")))
    folder = write(tmp_path, [question_row("1", "a.mp4", 1)])
    with pytest.raises(ValueError, match=r"no question_type 'room_size'; it has: object_counting"):
        load_corpus(Data(path=str(folder), families=("room_size",)))
    name = next(f"{k}.mp4" for k in range(99) if is_held_out(f"{k}.mp4", 0.5))
    with pytest.raises(ValueError, match="no question is left"):
        load_corpus(Data(path=str(write(tmp_path, [question_row("1", name, 1)])), holdout=0.5))


def test_gold_answers_that_do_not_pay_stop_the_run_or_are_dropped(tmp_path: Path) -> None:
    bad = question_row("bad", "a.mp4", 1) | {"solution": "<answer>several</answer>"}
    folder = write(tmp_path, [bad, question_row("good", "a.mp4", 1), bad | {"path": "b.mp4"}])
    corpus = load_corpus(Data(path=str(folder)))
    with pytest.raises(
        ValueError, match=r"2 of 3 training questions do not earn full marks.*the first is bad"
    ):
        check_gold(corpus, None, drop=False)
    kept = check_gold(corpus, None, drop=True).training
    assert [[question.problem_id for question in clip.questions] for clip in kept] == [["good"]]
    with pytest.raises(ValueError, match="drops all 1"):
        check_gold(load_corpus(Data(path=str(write(tmp_path, [bad])))), None, drop=True)


def test_questions_that_a_reward_cannot_grade_count_as_bad(tmp_path: Path) -> None:
    rows = [question_row("mapped", "a.mp4", 1), question_row("bare", "a.mp4", 1) | {"cognitive_map": None}]
    corpus = load_corpus(Data(path=str(write(tmp_path, rows))))
    rewards = Composed([Part("map", REWARDS["map"]())])
    assert check_gold(corpus, None, drop=False) == corpus
    with pytest.raises(ValueError, match=r"1 of 2 .*bare: reward 'map' cannot grade it: .*no true map"):
        check_gold(corpus, rewards, drop=False)
    [clip] = check_gold(corpus, rewards, drop=True).training
    assert [question.problem_id for question in clip.questions] == ["mapped"]


def several(problem_id: str, answer: str) -> dict[str, object]:
    return question_row(problem_id, "a.mp4", 1) | {
        "problem_type": "multiple choice",
        "options": ["A. a", "B. b", "C. c"],
        "solution": f"<answer>{answer}</answer>",
        "cognitive_map": None,
    }


def test_the_recipes_own_reward_says_what_full_marks_are(tmp_path: Path) -> None:
    corpus = load_corpus(Data(path=str(write(tmp_path, [several("two", "A,C"), several("one", "B")]))))
    with pytest.raises(ValueError, match=r"1 of 2 .*the first is two"):  # plain accuracy wants one letter
        check_gold(corpus, Composed([Part("accuracy", REWARDS["accuracy"]())]), drop=False)
    soft = Composed([Part("soft_choice", REWARDS["soft_choice"]()), Part("format", REWARDS["format"]())])
    assert check_gold(corpus, soft, drop=False) == corpus


def test_a_reward_for_some_rows_is_not_asked_about_others(tmp_path: Path) -> None:
    span = several("span", "[1.5, 3]") | {"problem_type": "temporal grounding", "options": None}
    corpus = load_corpus(Data(path=str(write(tmp_path, [several("letter", "B"), span]))))
    spans, letters = (
        {"problem_type": ["temporal grounding"]},
        {"problem_type": ["multiple choice", "numerical"]},
    )
    parts = [
        Part("accuracy", REWARDS["accuracy"](), 1.0, letters),
        Part("temporal_iou", REWARDS["temporal_iou"](), 1.0, spans),
    ]
    assert check_gold(corpus, Composed(parts), drop=False) == corpus
    letter, grounded = corpus.training[0].questions
    right = "<think></think><answer>B</answer>"
    assert Composed(parts).grade(right, letter).total == 1.0
    assert Composed(parts).grade("<answer>1.5 to 3</answer>", grounded).total == 1.0
    assert Composed(parts).grade(right, letter).parts["temporal_iou"].reason == "not for rows like this one"
    everywhere = [Part(part.name, part.reward) for part in parts]
    with pytest.raises(ValueError, match=r"1 of 2 .*letter"):
        check_gold(corpus, Composed(everywhere), drop=False)
    with pytest.raises(ValueError, match=r"only.task must be a list of values"):
        Part("format", REWARDS["format"](), 1.0, {"task": "x"})


def test_onethinkers_rows_pass_the_filter_of_its_recipe(tmp_path: Path) -> None:
    recipe = Path(__file__).resolve().parents[1] / "recipes" / "onethinker.toml"
    [_, stage] = load_stages(recipe)
    answers = {
        "multiple choice": "A", "numerical": "2", "regression": "2", "OCR": "EXIT", "open-ended": "a chair",
        "temporal grounding": '{"time": [3.5, 7]}', "spatial grounding": '{"boxes": [0, 0, 10, 10]}',
        "spatial-temporal grounding": '{"time": [0.5, 1.5], "boxes": {"1": [0, 0, 10, 10]}}',
        "tracking": '{"boxes": {"1": [0, 0, 10, 10]}}', "math": "$$x^2$$", "segmentation": "{}",
    }  # fmt: skip
    rows: list[dict[str, object]] = [
        {
            "problem_id": kind, "problem": "<video>What?", "data_type": "video", "problem_type": kind,
            "options": ["A. a", "B. b"] if kind == "multiple choice" else [],
            "answer": f"<answer>{answer}</answer>", "videos": ["a.mp4"],
        }
        for kind, answer in answers.items()
    ]  # fmt: skip
    image = rows[3] | {"problem_id": "image", "data_type": "image", "videos": [], "images": ["a.jpg"]}
    rows += [image, image | {"problem_id": "several", "images": ["a.jpg", "b.jpg"]}]
    rows += [image | {"problem_id": "text", "images": []}]
    data = replace(stage.data, path=str(write(tmp_path, rows)))
    rewards = make_rewards(stage, str(recipe))
    corpus = check_gold(load_corpus(data), rewards, drop=False)
    kept = {question.problem_id for clip in corpus.training for question in clip.questions}
    assert kept == {*answers, "image"} - {"math", "segmentation"}


def test_maps_of_their_own_file_reach_the_questions(tmp_path: Path) -> None:
    rows = [question_row("1", "ScanNet/a.mp4", 1), question_row("2", "ScanNet/b.mp4", 1)]
    folder = write(tmp_path, [row | {"cognitive_map": None} for row in rows])
    file = tmp_path / "maps.jsonl"
    file.write_text(json.dumps({"video_id": "a", "cognitive_map": {"sofa": [[4, 5], [1, 1]]}}))
    clips = load_corpus(Data(path=str(folder), maps=str(file))).training
    assert [clip.questions[0].cognitive_map for clip in clips] == [{"sofa": [[4, 5], [1, 1]]}, None]
    file.write_text(json.dumps({"video_id": "c", "cognitive_map": {}}))
    with pytest.raises(ValueError, match=r"data.maps: .*maps.jsonl holds no map of any clip"):
        load_corpus(Data(path=str(folder), maps=str(file)))


def test_data_types_are_a_filter(tmp_path: Path) -> None:
    rows = [several("film", "A"), several("photo", "A") | {"data_type": "image", "path": "b.jpg"}]
    [clip] = load_corpus(Data(path=str(write(tmp_path, rows)), data_types=("video",))).training
    assert clip.name == "a.mp4"
    with pytest.raises(ValueError, match="no data_type 'sound'; it has: image, video"):
        load_corpus(Data(path=str(tmp_path), data_types=("sound",)))
