"""Video-MMMU: its rows as its authors and the Hub lay them out, and the authors' words around a question.

The words are those of `lmms_eval/tasks/videommmu/_default_template_yaml` of EvolvingLMMs-Lab/VideoMMMU.
"""

from __future__ import annotations

from typing import Any

from tolman.bench.asking import ask
from tolman.questions.question import Question

_LEARN = (
    "You should watch and learn the video content. Then apply what you learned to answer the following {} "
    "question. The image for this question is at the end of the video."
)
_IGNORE = "Please ignore the Quiz question in last frame of the video."


def rows(content: Any, with_options: bool) -> list[dict[str, Any]]:
    """Part → number → question, or rows; those with options, or those without."""
    if not isinstance(content, list):
        content = [row | {"part": part} for part, rows in content.items() for row in rows.values()]
    return [row for row in content if bool(row.get("options")) == with_options]


def prompt(question: Question) -> str:
    """What was learned is applied to a new question in the Adaptation part alone."""
    if question.question_type != "Adaptation":
        return ask(after=_IGNORE)(question)
    return ask(_LEARN.format("multi-choice" if question.options else "open-ended"), "")(question)
