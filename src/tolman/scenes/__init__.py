"""Places: scenes with items, exact box geometry, readers for real scans, procedural rooms."""

from tolman.scenes.types import Box, Item, Scene

__all__ = ["Box", "Item", "Scene"]
