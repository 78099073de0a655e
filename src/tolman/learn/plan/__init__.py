"""Predict what a recipe needs before it runs: memory, seconds, and the knob to turn first. No torch."""

from tolman.learn.plan.plan import Plan, advise, changes, make_plan, to_json
from tolman.learn.plan.sizes import KNOWN, ModelSize, model_size
from tolman.learn.plan.work import Lengths

__all__ = ["KNOWN", "Lengths", "ModelSize", "Plan", "advise", "changes", "make_plan", "model_size", "to_json"]
