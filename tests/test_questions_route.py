"""Route planning: parsing the official wording, the turns' geometry, the routes we make."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from tolman.questions.recompute import recompute
from tolman.questions.route import MARGIN, MIN_LEG, drafts, parse, turn_between, turn_name
from tolman.questions.view import View
from tolman.scenes import Box, Item, Scene

NOTE = "(Note: for each [please fill in], choose either 'turn back,' 'turn left,' or 'turn right.')"
HEAD = (
    "You are a robot beginning at the {} facing the {}. You want to navigate to the {}. You will perform the "
    f"following actions {NOTE}: "
)
END = " You have reached the final destination."


def scene(**places: tuple[float, float]) -> Scene:
    items = [
        Item(name, Box(np.array([x, y, 0.5]), np.ones(3), np.eye(3)), f"{name}/0")
        for name, (x, y) in places.items()
    ]
    return Scene("s", tuple(items), 20.0)


def test_turns() -> None:
    # Walking along +y, then +x: a quarter turn to the right; −x: to the left; −y: back.
    assert turn_between((0, 1), (1, 0)) == pytest.approx(-90)
    assert [turn_name(turn_between((0, 1), leg)) for leg in ((1, 0), (-1, 0), (0.1, -1))] == [
        "Turn Right",
        "Turn Left",
        "Turn Back",
    ]
    assert turn_name(MARGIN - 1) is None
    assert turn_name(130) is None
    assert turn_name(-140) is None
    assert turn_name(151) == "Turn Back"


def test_walk_then_turn() -> None:
    # From the sofa up to the fireplace, then left (−x) to the stove: the official shape with one blank.
    room = scene(sofa=(0, 0), fireplace=(0, 3), stove=(-3, 3.5))
    question = HEAD.format("sofa", "fireplace", "stove") + (
        "1. Go forward until the Fireplace 2. [please fill in]. 3. Go forward until the stove." + END
    )
    options = ["A. Turn Left", "B. Turn Back", "C. Turn Right"]
    assert recompute("route_planning", question, options, room).answer == "A"


def test_turn_first_and_from_where_one_stands() -> None:
    # At the bed (0, 0) facing the tv (0, 3); turn right to the desk (3, 0); there one looks along +x; the
    # door at (3, −3) is to the right again (it would be behind for somebody still facing +y).
    room = scene(bed=(0, 0), tv=(0, 3), desk=(3, 0), door=(3, -3))
    question = HEAD.format("bed", "tv", "door").replace(" facing", " and facing") + (
        "1. [please fill in] 2. Go forward until the desk 3. [Please fill in] 4. Go forward until the door."
        + END
    )
    options = [
        "A. Turn Right, Turn Back",
        "B. Turn Left, Turn Left",
        "C. Turn Right, Turn Right",
        "D. Turn Back, Turn Left",
    ]
    ours = recompute("route_planning", question, options, room)
    assert ours.answer == "C"
    assert "-90.0°, -90.0°" in ours.reason


ROOM: dict[str, tuple[float, float]] = {"bed": (0, 0), "tv": (0, 3), "door": (3, 0)}
WALK = "1. Go forward until the tv 2. [please fill in] 3. Go forward until the door."


@pytest.mark.parametrize(
    ("places", "steps", "reason"),
    [
        (ROOM | {"door": (0.1, 6)}, WALK, "do not decide"),
        (ROOM | {"door": (0, 3)}, WALK, "the same position"),  # under the tv
        (ROOM | {"tv": (0, 0)}, "1. [please fill in] 2. Go forward until the door.", "the same position"),
        ({"bed": (0, 0), "tv": (0, 3)}, WALK, "'door' is not"),
        (ROOM, "1. [please fill in] 2. [please fill in] 3. Go forward until the door.", "follow each other"),
        (ROOM, "1. Go forward until the door 2. [please fill in].", "no way leads on"),
        (ROOM, "1. Go forward until the door.", "no turn"),
        (ROOM, "1. Climb over the bed 2. [please fill in] 3. Go forward until the door.", "neither"),
    ],
)
def test_not_computable(places: dict[str, tuple[float, float]], steps: str, reason: str) -> None:
    ours = recompute("route_planning", HEAD.format("bed", "tv", "door") + steps + END, None, scene(**places))
    assert ours.answer is None
    assert reason in ours.reason


def test_facing_the_item_one_stands_at_is_not_computable() -> None:
    question = HEAD.format("tv", "tv", "door") + "1. [please fill in] 2. Go forward until the door." + END
    ours = recompute("route_planning", question, None, scene(tv=(0, 0), door=(3, 0)))
    assert ours.answer is None


def test_parse_reads_every_step() -> None:
    route = parse(
        "You are a robot beginning at the washing machine and facing toward the stove. You want to "
        f"navigate to the tv. You will perform the following actions {NOTE}: 1. Go forward until the sink "
        "2. [please fill in]. 3. Go forward until the dining table 4. [please fill in] "
        "5. Go forward until the tv." + END
    )
    assert not isinstance(route, str)
    assert route.start == "washing machine"
    assert route.face == "stove"
    assert route.steps == ["sink", None, "dining table", None, "tv"]


def test_made_routes_are_reproduced_and_clear() -> None:
    angles = np.linspace(0, 2 * math.pi, 9)[:8]
    ring = {f"item{k}": (3 * math.cos(a) + 0.2 * k, 3 * math.sin(a)) for k, a in enumerate(angles)}
    room = scene(**ring)
    made = drafts(View(room, None), np.random.default_rng(0))
    assert {draft.answer.count(",") for draft in made} == {0, 1, 2}
    assert {"1. [please" in draft.text for draft in made} == {True, False}
    for draft in made:
        ours = recompute("route_planning", draft.text, None, room)
        assert ours.answer == draft.answer
        assert draft.choices is not None
        assert draft.answer in draft.choices
        assert len(draft.choices) == len(set(draft.choices)) == (3 if "," not in draft.answer else 4)
        assert len(draft.evidence["turns_deg"]) == draft.answer.count(",") + 1


def test_made_routes_have_no_short_leg() -> None:
    # pairs of things 0.4 m apart
    spots = {f"item{k}": (3.0 * (k // 2 % 3) + 0.4 * (k % 2), 4.0 * (k // 6)) for k in range(12)}
    made = drafts(View(scene(**spots), None), np.random.default_rng(1))
    assert len(made) > 20
    for draft in made:
        route = parse(draft.text)
        assert not isinstance(route, str)
        way = [route.start, *(step for step in route.steps if step)]
        legs = [*pairwise(way), (route.start, route.face)]
        assert min(math.dist(spots[one], spots[other]) for one, other in legs) >= MIN_LEG


def test_no_way_to_things_under_the_ceiling() -> None:
    room = scene(bed=(0, 0), tv=(0, 3), door=(3, 0))
    lamp = Item(
        "ceiling light", Box(np.array([3.0, 3.0, 2.4]), np.full(3, 0.3), np.eye(3)), "ceiling light/0"
    )
    made = drafts(View(Scene("s", (*room.items, lamp), 20.0), None), np.random.default_rng(0))
    assert made
    assert not any("ceiling light" in draft.text for draft in made)
