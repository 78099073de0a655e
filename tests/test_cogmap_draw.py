"""Maps as pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tolman.cogmap import CognitiveMap, draw_map
from tolman.cogmap.draw import colour

SVG = "{http://www.w3.org/2000/svg}"


def circles(svg: str) -> list[ElementTree.Element]:
    """The positions: circles with a title (those of the legend have none)."""
    return [c for c in ElementTree.fromstring(svg).iter(f"{SVG}circle") if c.find(f"{SVG}title") is not None]


def test_positions_are_drawn_up_side_up_in_the_middle_of_their_cells() -> None:
    # 200 px for 10 cells: the middle of cell (0, 0) is 10 px from the left and 190 px from the top of the
    # panel, which starts at x = 8, y = 16.
    (circle,) = circles(draw_map(CognitiveMap({"chair": ((0, 0),)}), size=200))
    assert (circle.get("cx"), circle.get("cy")) == ("18.0", "206.0")


def test_both_maps_stand_side_by_side_with_one_legend() -> None:
    drawn = CognitiveMap({"chair": ((1, 2), (3, 4)), "tv": ()})
    truth = CognitiveMap({"chair": ((1, 2),), "bed": ((5, 5),)})
    svg = draw_map(drawn, truth)
    texts = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert texts == ["drawn", "true", "bed 0 / 1", "chair 2 / 1", "tv 0 / 0"]
    assert len(circles(svg)) == 4
    assert {c.get("fill") for c in circles(svg)} == {colour("chair"), colour("bed")}


def test_a_category_keeps_its_colour() -> None:
    assert colour("chair") == colour("chair") != colour("table")
    assert colour("chair") == "#728217"


def test_positions_off_the_grid_are_rings_at_the_edge() -> None:
    (circle,) = circles(draw_map(CognitiveMap({"chair": ((500, -(10**400)),)}), size=200))
    assert (circle.get("cx"), circle.get("cy"), circle.get("fill")) == ("208.0", "216.0", "none")


def test_markup_in_a_name_is_text() -> None:
    evil = "<script>alert('x')</script>\x00\ud800\"&"
    svg = draw_map(CognitiveMap({evil: ((1, 1),)}))
    root = ElementTree.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert "<script" not in svg
    svg.encode()


def test_many_positions_are_cut_and_the_picture_says_so() -> None:
    svg = draw_map(CognitiveMap({"chair": ((1, 1),) * 700}))
    assert len(circles(svg)) == 500
    assert "200 more not drawn" in svg


@given(
    st.dictionaries(
        st.text(), st.lists(st.tuples(st.floats(-1e300, 1e300), st.integers()), max_size=3), max_size=3
    )
)
@settings(max_examples=60, deadline=None)
def test_any_map_is_valid_svg(positions: dict[str, list[tuple[float, float]]]) -> None:
    for grid in (10, None):
        each = CognitiveMap({name: tuple(points) for name, points in positions.items()}, grid)
        svg = draw_map(each, each)
        ElementTree.fromstring(svg)
        assert svg.count("http") == 1 + "".join(positions).count("http")  # the name space only


def test_bad_sizes_and_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="40 pixels"):
        draw_map(CognitiveMap({}), size=10)
    with pytest.raises(ValueError, match="share a grid"):
        draw_map(CognitiveMap({}), CognitiveMap({}, grid=None))
