"""The completion that answers a question perfectly."""

from __future__ import annotations

from tolman.cogmap.map import CognitiveMap
from tolman.cogmap.text import map_text
from tolman.data.working import working
from tolman.questions.question import Question
from tolman.reward.claims import claims_text, key_frames
from tolman.reward.layout import layout_text, true_layout


def gold_completion(question: Question, with_map: bool = True, worked: bool = False) -> str:
    """The gold completion of a question, in the form the rewards ask for.

    `<think><map>{"chair": [[1, 2]]}</map></think><answer>B</answer>` where the question has a cognitive map
    and `with_map` is set, `<think></think><answer>B</answer>` otherwise. A metric layout takes the map's
    place where there is no cognitive map; key frames add the claims that they bear out (`reward.claims`),
    before it. worked: follow the cognitive map with how the answer follows from it (`data.working`).
    Supervised fine-tuning learns this text and `validate` expects full marks for it.
    """
    drawn, layout = "", true_layout(question)
    if with_map and question.cognitive_map is not None:
        positions = {
            category: tuple((float(x), float(y)) for x, y in places)
            for category, places in question.cognitive_map.items()
        }
        drawn = f"<map>{map_text(CognitiveMap(positions))}</map>{working(question) if worked else ''}"
    elif with_map and layout is not None:
        drawn = f"<map>{layout_text(layout)}</map>"
    return f"<think>{claims_text(key_frames(question))}{drawn}</think><answer>{question.answer}</answer>"
