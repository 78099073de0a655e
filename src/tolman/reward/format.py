"""Whether a completion has the form asked for."""

from __future__ import annotations

import re

from tolman.questions.question import Question
from tolman.reward.graded import Graded, Reward
from tolman.reward.options import choose

RULES = ("published", "strict", "video2layout")
_TURN = re.compile(r"</think>\s*<answer>")
_MAP_TURN = re.compile(r"</map>\s*<think>")
_OBJECT = re.compile(r"<obj>\w+</obj><box>\[")
_TAGS = re.compile(r"</?(?:think|map|answer)>")
_IN_ORDER = (
    ["<think>", "</think>", "<answer>", "</answer>"],
    ["<think>", "<map>", "</map>", "</think>", "<answer>", "</answer>"],
)


def format(rule: str = "published") -> Reward:
    """1 for a completion of the form `<think>…</think> <answer>…</answer>`, otherwise 0.

    published: SpaceR's `format_reward` (SG-RLVR.py): all of it matches
        `<think>.*?</think>\\s*<answer>.*?</answer>`. A map between thought and answer loses it; several
        thoughts and answers in a row keep it.
    strict: besides, each tag once and in order, a map (at most one) inside the thought, an answer
        that is not empty.
    video2layout: `<map>…</map> <think>…</think> <answer>…</answer>`, blanks around it allowed (qa.py of
        ybrrraway/Video2Layout at c2023f4; arXiv 2511.16160).

    Time linear in the completion. Raises ValueError for another rule.
    """
    if choose("rule", rule, RULES) == "video2layout":
        return _map_first
    strict = rule == "strict"

    def grade(completion: str, question: Question) -> Graded:
        ends = len(completion) - len("</answer>")
        whole = completion.startswith("<think>") and completion.endswith("</answer>")
        turn = _TURN.search(completion, len("<think>"), ends) if whole else None
        if turn is None:
            return Graded(0.0, "not <think>…</think> <answer>…</answer>")
        if strict and _TAGS.findall(completion) not in _IN_ORDER:
            return Graded(0.0, "tags repeated or out of order")
        if strict and not completion[turn.end() : ends].strip():
            return Graded(0.0, "the answer is empty")
        return Graded(1.0, "well formed")

    return grade


def evidence_format() -> Reward:
    """Open-o3 Video's format reward: 1 for thought, answer and evidence, 0.5 for the first two, otherwise 0.

    Agrees with `format_reward` in reward_func.py of marinero4972/Open-o3-Video at 1eb6eca (arXiv 2510.20579):
    think, answer, and in the first thought obj, t and box tags open as often as they close. Evidence is one
    of each of the latter three; by the row's `task`, two moments for `temporal QA` and its MCQ, also an
    object with its box anywhere for `visual QA`, nothing for `General video QA …`.
    """

    def grade(completion: str, question: Question) -> Graded:
        inside = _first(completion, "think")
        if inside is None or _first(completion, "answer") is None:
            return Graded(0.0, "no thought or no answer")
        open_tags = [tag for tag in ("think", "answer") if not _even(completion, tag)]
        open_tags += [tag for tag in ("obj", "t", "box") if not _even(inside, tag)]
        if open_tags:
            return Graded(0.0, f"tags that do not pair: {', '.join(open_tags)}")
        if _has_evidence(str(question.extra.get("task", "")), completion, inside):
            return Graded(1.0, "well formed")
        return Graded(0.5, "no evidence in the thought")

    return grade


def _map_first(completion: str, question: Question) -> Graded:
    text = completion.strip()
    ends = len(text) - len("</answer>")
    whole = text.startswith("<map>") and text.endswith("</answer>")
    drawn = _MAP_TURN.search(text, len("<map>"), ends) if whole else None
    if drawn is None or _TURN.search(text, drawn.end(), ends) is None:
        return Graded(0.0, "not <map>…</map> <think>…</think> <answer>…</answer>")
    return Graded(1.0, "well formed")


def _first(text: str, tag: str) -> str | None:
    """The text of the first such tag that closes."""
    start = text.find(f"<{tag}>")
    end = text.find(f"</{tag}>", start) if start >= 0 else -1
    return text[start + len(tag) + 2 : end] if end >= 0 else None


def _even(text: str, tag: str) -> bool:
    return text.count(f"<{tag}>") == text.count(f"</{tag}>")


def _has_evidence(task: str, completion: str, inside: str) -> bool:
    if "General video QA" in task:
        return True
    if task in ("temporal QA", "temporal QA (MCQ)"):
        return inside.count("<t>") >= 2
    if task == "visual QA" and any(_has_box(line) for line in completion.split("\n")):
        return True
    return all(f"<{tag}>" in inside for tag in ("obj", "t", "box"))


def _has_box(line: str) -> bool:
    """Whether a line holds an object with a box."""
    match = _OBJECT.search(line)
    return match is not None and line.find("]</box>", match.end()) >= 0
