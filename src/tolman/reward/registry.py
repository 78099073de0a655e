"""Rewards by the name a recipe uses."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from tolman.reward.accuracy import accuracy, free_form, ocr, regression
from tolman.reward.choices import soft_choice
from tolman.reward.consistency import semantic_consistency, semantic_similarity, think_answer_consistency
from tolman.reward.evidence import evidence_boxes, evidence_segment, evidence_times, keyframes
from tolman.reward.format import evidence_format, format
from tolman.reward.graded import Reward
from tolman.reward.grounding import answer_structure, box_overlap, spatio_temporal_iou, tracking
from tolman.reward.layout import layout
from tolman.reward.length import length
from tolman.reward.map import cognitive_map, spacer_accuracy
from tolman.reward.temporal import temporal_iou

Factory = Callable[..., Reward]


class _Registry(dict[str, Factory]):
    """A dict whose missing key is a ValueError that lists the names."""

    def __missing__(self, name: str) -> Factory:
        raise ValueError(f"no reward named {name!r}; choose from {', '.join(sorted(self))}")


def _checked(name: str, factory: Factory) -> Factory:
    """The factory, with unknown and missing options as ValueErrors that list the known ones."""
    signature = inspect.signature(factory)

    def make(**options: object) -> Reward:
        known = ", ".join(signature.parameters) or "none"
        try:
            signature.bind(**options)
        except TypeError as error:
            raise ValueError(f"reward {name!r}: {error}; its options are: {known}") from None
        return factory(**options)

    make.__doc__ = factory.__doc__
    return make


def _registry(**factories: Factory) -> _Registry:
    return _Registry({name: _checked(name, factory) for name, factory in factories.items()})


REWARDS: dict[str, Factory] = _registry(
    accuracy=accuracy,
    answer_structure=answer_structure,
    box_iou=box_overlap,
    evidence_boxes=evidence_boxes,
    evidence_format=evidence_format,
    evidence_segment=evidence_segment,
    evidence_times=evidence_times,
    format=format,
    free_form=free_form,
    keyframes=keyframes,
    layout=layout,
    length=length,
    map=cognitive_map,
    ocr=ocr,
    regression=regression,
    semantic_consistency=semantic_consistency,
    semantic_similarity=semantic_similarity,
    soft_choice=soft_choice,
    spacer_accuracy=spacer_accuracy,
    spatio_temporal_iou=spatio_temporal_iou,
    temporal_iou=temporal_iou,
    think_answer_consistency=think_answer_consistency,
    tracking=tracking,
)
"""Name → factory taking keyword options, e.g. `REWARDS["accuracy"](rule="published")`."""
