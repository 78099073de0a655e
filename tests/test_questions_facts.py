"""Distances between categories, and what a question may name."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tolman.questions.ask import ask
from tolman.questions.facts import facts_of
from tolman.render.sightings import Sightings
from tolman.scenes import Box, Item, Scene
from tolman.scenes.geometry import box_distance
from tolman.scenes.vsibench import read_vsibench


def row_of_cubes(**spots: list[float]) -> Scene:
    """Unit cubes along x."""
    items = [
        Item(name, Box(np.array([x, 0.0, 0.5]), np.ones(3), np.eye(3)), f"{name}/{k}")
        for name, places in spots.items()
        for k, x in enumerate(places)
    ]
    return Scene("s", tuple(items), 30.0)


def test_closest_names_the_pair_both_ways() -> None:
    # Chairs at 0 and 6, table at 4: faces 3 m and 1 m apart.
    facts = facts_of(row_of_cubes(chair=[0.0, 6.0], table=[4.0]))
    assert facts.closest("table", "chair") == (pytest.approx(1.0), "table/0", "chair/1")
    assert facts.closest("chair", "table") == (pytest.approx(1.0), "chair/1", "table/0")


def test_closest_is_the_minimum_over_all_pairs(shared_data: Path) -> None:
    for scene in read_vsibench(shared_data / "vsibench")[::24]:
        facts = facts_of(scene)
        for one, two in list(combinations(scene.categories, 2))[::5]:
            every = [box_distance(a.box, b.box) for a in scene.of(one) for b in scene.of(two)]
            assert facts.closest(one, two).distance == pytest.approx(min(every), abs=1e-9)


def test_facts_are_made_once_and_names_are_exact() -> None:
    scene = row_of_cubes(**{"table lamp": [0.0], "TV": [3.0]})
    facts = facts_of(scene)
    assert facts_of(scene) is facts
    assert facts.name("tv") == "TV"
    assert facts.name("Table  Lamp") == "table lamp"
    assert facts.name("table") is None


def test_options_need_every_instance_seen() -> None:
    # Five categories: a question about the closest needs all of them.
    # The second chair, out of sight, might be closer.
    scene = row_of_cubes(bed=[0.0], tv=[2.0], sofa=[5.0], stove=[9.0], chair=[14.0, -20.0])
    pixels = np.full((4, 6), 500, dtype=np.int64)
    families = ["object_rel_distance"]
    assert ask(scene, Sightings(pixels, np.arange(4.0), 10_000), 0, families=families)
    pixels[:, 5] = 0
    assert not ask(scene, Sightings(pixels, np.arange(4.0), 10_000), 0, families=families)
