"""What a drawn map is worth, and SpaceR's accuracy reward, which holds it."""

from __future__ import annotations

import math

from tolman.cogmap import CognitiveMap, extract_map_text, grade_map, has_map_tags, parse_map
from tolman.questions.question import Question
from tolman.reward.accuracy import RULES as ACCURACY_RULES
from tolman.reward.accuracy import accuracy
from tolman.reward.graded import Graded, Reward
from tolman.reward.options import choose

RULES = ("calibrated", "published")
GATES = ("none", "half", "correct")
ZERO_MAPS = ("keeps_answer", "zeroes_answer")
NO_TRUTHS = ("ungraded", "no_term", "zero_map")
_MAPPED_TYPES = ("multiple choice", "numerical")


def cognitive_map(
    rule: str = "calibrated",
    gate: str = "none",
    zero_map: str = "keeps_answer",
    no_truth: str = "ungraded",
    accuracy_rule: str = "corrected",
) -> Reward:
    """The score of the completion's map: a term to add to accuracy, in [0, 1] ([−1, 1] with zeroes_answer).

    rule: calibrated — the last map inside the thought, read strictly, scored so that the best map without any
        knowledge of the layout earns 0 and points off the grid earn nothing (`grade_map`); published —
        SpaceR's reading and scoring of the first map anywhere, for multiple choice and numerical questions
        only (arXiv 2504.01805; SG-RLVR.py and extract_map.py at b623af5).
    gate: none — every map counts; half — only where accuracy > 0.5, the published condition; correct — only
        where accuracy is 1. Behind a closed gate the term is 0. The gate asks `accuracy(accuracy_rule)`
        itself, so that the term depends on nothing but completion and question.
    zero_map: what a map worth 0 does behind an open gate. keeps_answer — nothing, the term is 0;
        zeroes_answer — the term is −accuracy, so that both sum to 0 (published: a bad map is worse than
        none).
    no_truth: for a question without a true map or with one that cannot tell maps apart. ungraded — NaN;
        no_term — 0; zero_map — what is drawn is worth 0 (published: a KeyError or TypeError that ends as a
        reward of 0).

    A completion without map tags gets 0. NaN where the accuracy is needed and is NaN. Raises ValueError for
    other options.
    """
    published = choose("rule", rule, RULES) == "published"
    choose("gate", gate, GATES)
    choose("zero_map", zero_map, ZERO_MAPS)
    choose("no_truth", no_truth, NO_TRUTHS)
    judge = accuracy(choose("accuracy_rule", accuracy_rule, ACCURACY_RULES))

    def grade(completion: str, question: Question) -> Graded:
        if published and question.problem_type not in _MAPPED_TYPES:
            return Graded(0.0, f"no map term for {question.problem_type}")
        answer = judge(completion, question)
        if answer.ungraded and (gate != "none" or zero_map != "keeps_answer"):
            return answer
        if not _open(gate, answer.value):
            return Graded(0.0, "the answer does not open the gate for the map")
        scored = _scored(completion, question, rule)
        if scored.ungraded and no_truth != "zero_map":
            return scored if no_truth == "ungraded" else Graded(0.0, f"no map term: {scored.reason}")
        if not has_map_tags(completion):
            return Graded(0.0, "no map")
        if scored.value > 0:
            return scored
        return Graded(-answer.value if zero_map == "zeroes_answer" else 0.0, scored.reason)

    return grade


def spacer_accuracy() -> Reward:
    """SpaceR's `accuracy_reward` as published: accuracy plus the map's score, in [0, 2] (arXiv 2504.01805).

    Agrees with SG-RLVR.py at b623af5: a right answer (accuracy > 0.5) earns its map's score on top and is
    set to 0 by a map worth nothing. NaN, not 0 as there, for a problem type that it does not know.
    """
    answer = accuracy("published")
    bonus = cognitive_map("published", "half", "zeroes_answer", "zero_map", "published")

    def grade(completion: str, question: Question) -> Graded:
        right, drawn = answer(completion, question), bonus(completion, question)
        return Graded(right.value + drawn.value, f"{right.reason}; {drawn.reason}")

    return grade


def _open(gate: str, value: float) -> bool:
    return gate == "none" or (value > 0.5 if gate == "half" else value >= 1)


def _scored(completion: str, question: Question, rule: str) -> Graded:
    """The map's score; NaN only where the truth is missing or of no use."""
    if question.cognitive_map is None:
        return Graded(math.nan, "the question has no true map")
    truth = CognitiveMap.of(question.cognitive_map)
    reading = "published" if rule == "published" else "strict"
    if rule == "calibrated":
        nothing = grade_map(CognitiveMap({}), truth, rule)
        if math.isnan(nothing.value):  # the same verdict for every completion, also for those without a map
            return Graded(*nothing)
    text = extract_map_text(completion, reading)
    if text.text is None and reading == "strict":
        return Graded(0.0, text.reason)
    parsed = parse_map(text.text or "", truth.positions, reading)
    if parsed.map is None:
        return Graded(0.0, parsed.reason)
    return Graded(*grade_map(parsed.map, truth, rule))
