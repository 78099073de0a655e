"""The completion that answers a question perfectly."""

from __future__ import annotations

import json
import re

from tolman.cogmap.map import CognitiveMap
from tolman.cogmap.text import map_text
from tolman.questions.question import Question
from tolman.reward.claims import claims_text, key_frames
from tolman.reward.layout import layout_text, true_layout


def gold_completion(question: Question, with_map: bool = True, recall: bool = False) -> str:
    """The gold completion of a question, in the form the rewards ask for.

    `<think><map>{"chair": [[1, 2]]}</map></think><answer>B</answer>` where the question has a cognitive map
    and `with_map` is set, `<think></think><answer>B</answer>` otherwise. A metric layout takes the map's
    place where there is no cognitive map; key frames add the claims that they bear out (`reward.claims`),
    before it. recall: follow the cognitive map with `recalled`. Supervised fine-tuning learns this text and
    `validate` expects full marks for it.
    """
    drawn, layout = "", true_layout(question)
    if with_map and question.cognitive_map is not None:
        positions = {
            category: tuple((float(x), float(y)) for x, y in places)
            for category, places in question.cognitive_map.items()
        }
        drawn = f"<map>{map_text(CognitiveMap(positions))}</map>{recalled(question) if recall else ''}"
    elif with_map and layout is not None:
        drawn = f"<map>{layout_text(layout)}</map>"
    return f"<think>{claims_text(key_frames(question))}{drawn}</think><answer>{question.answer}</answer>"


def recalled(question: Question) -> str:
    """What a question needs from its map, said before the answer: `{"bed": [[4, 8]], "sofa": [[1, 2]]} left`.

    The places of the categories that the question names, in its order, and the right option in words. A small
    model that has to answer from the map at once does not learn to look anything up in it.
    """
    places = question.cognitive_map or {}
    names = "|".join(re.escape(name) for name in sorted(places, key=len, reverse=True))
    named = re.findall(rf"(?<!\w)(?:{names})(?!\w)", question.problem) if names else []
    said = {name: sorted(places[name]) for name in dict.fromkeys(named)}
    text = json.dumps(said, ensure_ascii=False) if said else ""
    for option in question.options or ():
        letter, _, words = option.partition(". ")
        if letter == question.answer and words:
            text += f" {words}"
    return text
