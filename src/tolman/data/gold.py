"""The completion that answers a question perfectly."""

from __future__ import annotations

from tolman.cogmap.map import CognitiveMap
from tolman.cogmap.text import map_text
from tolman.questions.question import Question


def gold_completion(question: Question, with_map: bool = True) -> str:
    """The gold completion of a question, in the form the rewards ask for.

    `<think><map>{"chair": [[1, 2]]}</map></think><answer>B</answer>` where the question has a cognitive map
    and `with_map` is set, `<think></think><answer>B</answer>` otherwise. Supervised fine-tuning learns this
    text and `validate` expects full marks for it.
    """
    drawn = ""
    if with_map and question.cognitive_map is not None:
        positions = {
            category: tuple((float(x), float(y)) for x, y in places)
            for category, places in question.cognitive_map.items()
        }
        drawn = f"<map>{map_text(CognitiveMap(positions))}</map>"
    return f"<think>{drawn}</think><answer>{question.answer}</answer>"
