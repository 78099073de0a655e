"""Balancing: no constant answer does well afterwards."""

from __future__ import annotations

from collections import Counter

import pytest

from tolman.questions.ask import ask
from tolman.questions.balance import MAX_SHARE, SLACK, answer_text, balance, cap
from tolman.questions.question import Question
from tolman.scenes.generate import generate_scene


def row(number: int, family: str, answer: str, options: tuple[str, ...] | None = None) -> Question:
    return Question(
        number, "?", "video", "x", options, f"<answer>{answer}</answer>", "", "", question_type=family
    )


def test_cap_by_hand() -> None:
    # Ten of one value, four and two of others; limit 0.5: at 6, 6/(6+4+2) = 0.5 holds; at 7, 7/13 does not.
    assert cap(Counter({"a": 10, "b": 4, "c": 2}), 0.5) == 6
    # Two values can never keep each below 0.4: cut to the rarer one.
    assert cap(Counter({"a": 10, "b": 4}), 0.4) == 4
    assert cap(Counter({"a": 3}), 0.3) == 3


def test_counts() -> None:
    answers = ["2"] * 60 + ["3"] * 20 + ["4"] * 10 + ["5"] * 10
    kept = balance([row(k, "object_counting", answer) for k, answer in enumerate(answers)], 0)
    counts = Counter(question.answer for question in kept)
    # The largest c with c ≤ 0.3 (min(60, c) + min(20, c) + 10 + 10): 16 against 0.3 · 52 = 15.6 fails,
    # 15 against 0.3 · 50 = 15 holds.
    assert counts == {"2": 15, "3": 15, "4": 10, "5": 10}
    assert [question.problem_id for question in kept] == sorted(int(q.problem_id) for q in kept)


def test_directions_by_text_and_letter() -> None:
    options = ("A. left", "B. right")
    swapped = ("A. right", "B. left")
    rows = [row(k, "object_rel_direction_easy", "A", options) for k in range(80)]
    rows += [row(100 + k, "object_rel_direction_easy", "A", swapped) for k in range(20)]
    rows += [row(200 + k, "object_rel_direction_easy", "B", options) for k in range(60)]
    kept = balance(rows, 1)
    texts = Counter(answer_text(question) for question in kept)
    letters = Counter(question.answer for question in kept)
    assert len(kept) > 100
    assert max(texts.values()) <= 0.6 * len(kept)
    assert max(letters.values()) <= SLACK / 2 * len(kept)


def test_made_questions_after_balancing() -> None:
    questions = [q for seed in range(40) for q in ask(generate_scene(seed, 2), None, seed, per_family=6)]
    kept = balance(questions, 0)
    assert kept == balance(questions, 0)
    assert len(kept) > 0.6 * len(questions)
    groups: dict[tuple[str, int], list[str]] = {}
    for question in kept:
        groups.setdefault((question.question_type, len(question.options or ())), []).append(question.answer)
    for (family, options), answers in groups.items():
        limit = SLACK / options if options else MAX_SHARE
        assert max(Counter(answers).values()) <= max(limit * len(answers), 1), family


def test_answer_outside_the_options() -> None:
    with pytest.raises(ValueError, match="answer 'C' is none of its options"):
        balance([row(0, "object_rel_direction_easy", "C", ("A. left", "B. right"))], 0)
