"""Building blocks of benchmark files: a published row as a `Question`, and the words it is put in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tolman.bench.verdict import Row
from tolman.questions.question import Question

SEE_SOURCE = "as the source states"
DIRECT = "Answer with the option's letter from the given choices directly."
_TYPES = {"choice": "multiple choice", "numeric": "numerical"}


def question(
    source: str,
    number: object,
    problem: object,
    answer: object,
    *,
    options: Iterable[object] | None = None,
    clip: str = "",
    kind: object = "",
    answer_kind: str = "choice",
    media: str = "video",
    scene: str = "",
    extra: Mapping[str, Any] | None = None,
) -> Question:
    """A question of benchmark `source`; options without letters get them.

    answer: a letter or the text itself; an int is the place of the right option. answer_kind: one of
    `tolman.bench.benchmark.KINDS`. extra: further fields that the benchmark's rules or averages look at.
    """
    lettered = None if options is None else lettered_options(options)
    if isinstance(answer, int) and lettered is not None:
        answer = lettered[answer][0]
    return Question(
        problem_id=number if isinstance(number, int) else str(number),
        problem=str(problem),
        data_type=media,
        problem_type=_TYPES.get(answer_kind, answer_kind),
        options=lettered,
        solution=f"<answer>{answer}</answer>",
        path=clip,
        data_source=source,
        scene_id=scene,
        question_type=str(kind),
        extra=dict(extra or {}),
    )


def lettered_options(options: Iterable[object]) -> tuple[str, ...]:
    """`A. …`, `B. …`; options that have the letter of their place already stay as they are."""
    texts = [str(option).strip() for option in options]
    if all(text[:1] == chr(65 + k) and text[1:2] in (".", ")", ":") for k, text in enumerate(texts)):
        return tuple(texts)
    return tuple(f"{chr(65 + k)}. {text}" for k, text in enumerate(texts))


def ask(
    before: str = "", after: str = DIRECT, options: str = "", shape: str = "{letter}. {text}"
) -> Callable[[Question], str]:
    """A prompt of lines: before, the problem, options (a heading of theirs), each option, after (`DIRECT`
    only where a letter is asked for); empty lines are left out.
    """

    def prompt(question: Question) -> str:
        lines = [before, question.problem]
        if question.options:
            lines += [options, *(shape.format(letter=one[0], text=one[3:]) for one in question.options)]
        if after != DIRECT or question.problem_type == _TYPES["choice"]:
            lines.append(after)
        return "\n".join(line for line in lines if line)

    return prompt


def kind(name: str) -> Callable[[Row], str]:
    """The same kind of answer for every row."""
    return lambda row: name
