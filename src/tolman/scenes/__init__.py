"""Places: scenes with items, exact box geometry, readers for real scans, procedural rooms."""

from tolman.scenes.furniture import CATALOGUE, Furniture
from tolman.scenes.generate import DIFFICULTIES, generate_scene
from tolman.scenes.types import Box, Item, Scene

__all__ = ["CATALOGUE", "DIFFICULTIES", "Box", "Furniture", "Item", "Scene", "generate_scene"]
