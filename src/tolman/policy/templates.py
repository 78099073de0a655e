"""What the user's turn says: templates as data (importable without torch)."""

from __future__ import annotations

from collections.abc import Mapping

from tolman.questions.question import Question

TEMPLATES: dict[str, str] = {
    "verbatim": "{problem}",
    "map": "{problem}{options}\nThink, draw the map, answer.",
    "direct": "{problem}{options}\nGive only the answer{answer_rule}.",
    "spacer": (
        "Question: {problem}{options}\n"
        "Work through the question step by step before you answer, as a person would who walked "
        "through this room, and write that reasoning between <think> and </think>. Doubt your first idea, "
        "look at the video again where it helps, and correct yourself.\n"
        "As part of the reasoning, draw a cognitive map of the room seen from above:\n"
        "1. Look for these objects in the video: {objects}.\n"
        "2. Place the centre of every one you find on a grid of 10 x 10 cells, as [x, y] with whole numbers "
        "from 0 to 9. An object that is there several times gets one position for each.\n"
        "3. Write the map between <map> and </map> as a dictionary from object to positions, for example "
        '<map>{{"chair": [[1, 2], [8, 8]], "table": [[5, 5]]}}</map>, and use it for your answer.\n'
        "Then give your final answer between <answer> and </answer>{answer_rule}."
    ),
    "think": (
        "{problem}{options}\n"
        "First reason step by step between <think> and </think>, and check your reasoning against what is "
        "shown. Then give your final answer between <answer> and </answer>{answer_rule}."
    ),
    "evidence": (
        "{problem}{options}\n"
        "First reason between <think> and </think>. Whenever you mention an object, write where and when it "
        "is to be seen: its name, its box in pixels and the time in seconds, as in "
        "<obj>chair</obj><box>[10, 20, 60, 80]</box>at<t>3.2</t>s; a moment alone is <t>3.2</t>s. Then give "
        "your final answer between <answer> and </answer>{answer_rule}."
    ),
    "review": (
        "{problem}{options}\n"
        "You see a few frames of the whole video. Before you answer you may look at one part of it again, "
        "with more frames. First reason between <think> and </think> about what is shown and what you still "
        "have to check, then name that part in seconds, as in <review>[3.2, 7.5]</review>, and wait for it."
    ),
    "layout": (
        "{problem}{options}\n"
        "First draw what is in the room, seen from above, between <map> and </map>: a dictionary from object "
        'to its outlines [x1, y1, x2, y2] in metres, as in <map>{{"table": [[0.5, 1.0, 2.0, 1.8]]}}</map>. '
        "Draw it inside your reasoning, which stands between <think> and </think>. Then give your final "
        "answer between <answer> and </answer>{answer_rule}."
    ),
}
"""What the user's turn says, by name, with the fields `problem`, `options`, `objects` and `answer_rule`.

`verbatim`: the row's problem and nothing else (for prompts that are complete already). `map`: short, for
policies trained on it. `direct`: no reasoning. `spacer`: the published protocol of SpaceR (arXiv
2504.01805) in our words: reasoning in think tags, inside it a 10 x 10 map of the listed objects in map
tags, then the answer in answer tags. As there, the list is the true map's categories, so the model is told
what exists; where a question has no true map (benchmarks) the list is "the main objects of the room".
`think`: reasoning in think tags, then the answer. `evidence`: the same with times and boxes in Open-o3
Video's notation (`tolman.reward.claims`). `layout`: the same with a metric map (`tolman.reward.layout`).
`review`: reasoning and a part of the video to see again, REVISOR's first pass in our words; `reviewed_text`
is what is said when it is shown.
"""

_ANSWER_RULES: Mapping[str, str] = {
    "multiple choice": ": only the letter of the right option, as in <answer>A</answer>",
    "numerical": ": only the number, as in <answer>3.1</answer>",
    "regression": ": only the number, as in <answer>3.1</answer>",
    "OCR": ": only the text, as in <answer>EXIT</answer>",
    "free-form": ": in a sentence, inside <answer> </answer>",
    "open-ended": ": in a sentence, inside <answer> </answer>",
    "temporal grounding": ': start and end in seconds, as in <answer>{"time": [3.2, 7.5]}</answer>',
    "spatial grounding": ': the box in pixels, as in <answer>{"boxes": [10, 20, 60, 80]}</answer>',
    "spatial-temporal grounding": (
        ": start and end in seconds and a box for every whole second between them, as in "
        '<answer>{"time": [3.2, 5.5], "boxes": {"4": [10, 20, 60, 80], "5": [12, 20, 62, 80]}}</answer>'
    ),
    "tracking": (
        ": a box for every second, as in "
        '<answer>{"boxes": {"1": [10, 20, 60, 80], "2": [12, 20, 62, 80]}}</answer>'
    ),
}
REVIEWED = (
    "This is the part that you asked for. Check your first reasoning against it between <think> and "
    "</think>, and correct what was wrong. Then give your final answer between <answer> and "
    "</answer>{answer_rule}."
)


def reviewed_text(question: Question) -> str:
    """The user's words beside the part of the video that the policy asked to see again."""
    return REVIEWED.format(answer_rule=_answer_rule(question))


def question_text(question: Question, template: str) -> str:
    """The user's words. Raises ValueError for an unknown template, listing the known ones."""
    if template not in TEMPLATES:
        raise ValueError(f"unknown template {template!r}; known: {', '.join(sorted(TEMPLATES))}")
    options = "".join(f"\n{option}" for option in question.options or ())
    objects = ", ".join(question.cognitive_map or ()) or "the main objects of the room"
    return TEMPLATES[template].format(
        problem=question.problem.strip(),
        options=f"\nOptions:{options}" if options else "",
        objects=objects,
        answer_rule=_answer_rule(question),
    )


def _answer_rule(question: Question) -> str:
    return _ANSWER_RULES.get(question.problem_type, ", inside <answer> </answer>")
