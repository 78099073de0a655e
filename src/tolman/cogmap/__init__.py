"""Cognitive maps: built from a scene, read from a model's text, scored against the truth, drawn."""

from tolman.cogmap.build import build_map
from tolman.cogmap.draw import draw_map
from tolman.cogmap.map import CognitiveMap
from tolman.cogmap.parse import ParsedMap, parse_map
from tolman.cogmap.score import MapScore, grade_map, score_map
from tolman.cogmap.text import MapText, extract_map_text, has_map_tags, map_text

__all__ = [
    "CognitiveMap",
    "MapScore",
    "MapText",
    "ParsedMap",
    "build_map",
    "draw_map",
    "extract_map_text",
    "grade_map",
    "has_map_tags",
    "map_text",
    "parse_map",
    "score_map",
]
