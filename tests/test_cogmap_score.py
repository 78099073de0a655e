"""How much of the true map a drawn map shows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tolman.cogmap import CognitiveMap, build_map, grade_map, score_map
from tolman.scenes import Box, Item, Scene

# Σd of the best single cell, (5, 5): |(1,2)−(5,5)| = 5, |(8,8)−(5,5)| = 3√2, |(5,5)−(5,5)| = 0.
TRUTH = CognitiveMap.of({"chair": [[1, 2], [8, 8]], "table": [[5, 5]]})
BLIND_SUM = 5 + 3 * math.sqrt(2)
DIAGONAL = 10 * math.sqrt(2)

points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4)
maps = st.dictionaries(st.sampled_from(["bed", "chair", "sofa", "tv"]), points, min_size=1, max_size=4).map(
    CognitiveMap.of
)


def drawn(**positions: list[list[float]]) -> CognitiveMap:
    return CognitiveMap.of(positions)


@pytest.mark.parametrize(
    ("guess", "expected"),
    [
        (TRUTH, 1.0),
        (drawn(chair=[[5, 5], [5, 5]], table=[[5, 5]]), 1 - BLIND_SUM / DIAGONAL / 3),  # 0.782
        (drawn(table=[[0, 0]]), (1 - 5 * math.sqrt(2) / DIAGONAL) / 3),  # (1 − 1/2)·1/3 = 0.167
        (drawn(chair=[[1, 2], [8, 8]], table=[[5, 5]], piano=[[3, 3]]), 1.0),  # extra category: free
        (drawn(chair=[[1, 2], [8, 8], [0, 0], [9, 9]], table=[[5, 5]]), (0.5 * 2 + 1) / 3),  # 0.667
        (drawn(chair=[[500, 500]], table=[[500, 500]]), 0.0),
        (drawn(), 0.0),
    ],
)
def test_published_scores_of_the_methods_table(guess: CognitiveMap, expected: float) -> None:
    assert score_map(guess, TRUTH, rule="published") == pytest.approx(expected, abs=1e-12)


def test_published_matching_is_greedy_where_ours_is_optimal() -> None:
    truth = drawn(chair=[[4, 4], [8, 4], [0, 9]])
    guess = drawn(chair=[[5, 4], [1, 4], [0, 9]])
    # d(5,4→4,4)=1, (5,4→8,4)=3, (1,4→4,4)=3, (1,4→8,4)=7: greedy 1+7=8, optimal 3+3=6, the third is exact.
    assert score_map(guess, truth, rule="published") == pytest.approx(1 - 8 / DIAGONAL / 3, abs=1e-12)
    raw = 1 - 6 / DIAGONAL / 3
    # blind: the best of the 100 cells, by brute force
    best = min(
        sum(math.dist(cell, p) for p in [(4, 4), (8, 4), (0, 9)])
        for cell in itertools.product(range(10), range(10))
    )
    blind = 1 - best / DIAGONAL / 3
    assert score_map(guess, truth) == pytest.approx((raw - blind) / (1 - blind), abs=1e-12)


def test_other_grids_have_their_own_diagonal_and_cells() -> None:
    def on(grid: int, **positions: list[list[float]]) -> CognitiveMap:
        return CognitiveMap.of(positions, grid=grid)

    # 4 x 4: blind is any cell of the diagonal, Σd = 3√2 of 2 · 4√2, so 5/8; a true map with a third position
    # has raw 2/3: (2/3 − 5/8) / (3/8) = 1/9
    truth = on(4, chair=[[0, 0]], bed=[[3, 3]])
    assert score_map(truth, truth, grid=4) == 1
    guess = on(4, chair=[[0, 0]], bed=[[3, 3]], tv=[[1, 1]])
    assert score_map(guess, truth, grid=4) == pytest.approx(1 / 9, abs=1e-12)
    aside = on(4, chair=[[0, 1]], bed=[[3, 3]])
    assert score_map(aside, truth, "published", 4) == pytest.approx(1 - 1 / (4 * math.sqrt(2)) / 2, abs=1e-12)
    # 20 x 20, everything beyond the tenth row: the best blind cell is there, too
    truth = on(20, chair=[[15, 15]], bed=[[19, 15]])
    assert score_map(on(20, chair=[[17, 15]], bed=[[17, 15]]), truth, grid=20) == pytest.approx(0, abs=1e-12)
    assert score_map(on(20, chair=[[16, 15]], bed=[[19, 15]]), truth, grid=20) == pytest.approx(3 / 4)


def test_published_ties_go_to_the_position_written_first() -> None:
    # (2, 0) is 2 from both; it takes the first truth, which leaves (8, 0) 4 or 8 from the other one.
    guess = drawn(chair=[[2, 0], [8, 0]])
    first = score_map(guess, drawn(chair=[[0, 0], [4, 0]]), rule="published")
    second = score_map(guess, drawn(chair=[[4, 0], [0, 0]]), rule="published")
    assert first == pytest.approx(1 - (2 + 4) / DIAGONAL / 2, abs=1e-12)
    assert second == pytest.approx(1 - (2 + 8) / DIAGONAL / 2, abs=1e-12)


def test_published_code_that_raises_gives_nan() -> None:
    empty = drawn(chair=[])
    assert math.isnan(score_map(drawn(chair=[[1, 2]]), empty, rule="published"))  # TypeError there
    assert math.isnan(score_map(drawn(chair=[[10**200, 0]]), TRUTH, rule="published"))  # OverflowError there
    assert score_map(drawn(chair=[[10**150, 0]]), TRUTH, rule="published") == 0
    assert score_map(drawn(), empty, rule="published") == 1
    assert score_map(drawn(), drawn(), rule="published") == 1


@pytest.mark.parametrize(
    ("guess", "expected"),
    [
        (TRUTH, 1.0),
        (drawn(chair=[[8, 8], [1, 2]], table=[[5, 5]]), 1.0),
        (drawn(chair=[[5, 5], [5, 5]], table=[[5, 5]]), 0.0),  # the best blind map
        (drawn(chair=[[4, 4], [4, 4]], table=[[4, 4]]), 0.0),  # a worse one: clipped
        (drawn(chair=[[1, 3], [8, 8]], table=[[5, 5]]), 1 - 1 / BLIND_SUM),  # one step off: 0.892
        (drawn(chair=[[1.9, 2.1], [8, 8]], table=[[5, 5]]), 1.0),  # the same cell
        # an extra category: raw = 3/4; (3/4 − b)/(1 − b) with 1 − b = BLIND_SUM/(3·10√2)
        (
            drawn(chair=[[1, 2], [8, 8]], table=[[5, 5]], piano=[[3, 3]]),
            max(0, 1 - 0.25 * 3 * DIAGONAL / BLIND_SUM),
        ),
        (drawn(), 0.0),
    ],
)
def test_calibrated_scores_by_hand(guess: CognitiveMap, expected: float) -> None:
    assert score_map(guess, TRUTH) == pytest.approx(expected, abs=1e-12)


def test_calibrated_extra_missing_and_off_grid_positions_cost_alike() -> None:
    # Corners twice: 8 items, best cell (4, 4) of the middle four: per round |(4,4)| + |(5,4)|·2 + |(5,5)|
    corners = [[0, 0], [9, 0], [0, 9], [9, 9]]
    truth = drawn(bed=corners, tv=corners)
    blind_sum = 2 * (4 * math.sqrt(2) + 2 * math.sqrt(41) + 5 * math.sqrt(2))
    unit = DIAGONAL * 8 / blind_sum  # what a lost share of raw costs
    missing = drawn(bed=corners[:3], tv=corners)
    assert score_map(missing, truth) == pytest.approx(1 - unit / 8, abs=1e-12)
    off = drawn(bed=[*corners[:3], [10, 9]], tv=corners)
    assert score_map(off, truth) == pytest.approx(1 - unit / 8, abs=1e-12)
    negative = drawn(bed=[*corners[:3], [9, -1]], tv=corners)
    assert score_map(negative, truth) == pytest.approx(1 - unit / 8, abs=1e-12)
    extra = drawn(bed=[*corners, [5, 5]], tv=corners)
    assert score_map(extra, truth) == pytest.approx(1 - unit / 9, abs=1e-12)
    invented = drawn(bed=corners, tv=corners, piano=[[5, 5]])
    assert score_map(invented, truth) == pytest.approx(1 - unit / 9, abs=1e-12)


@pytest.mark.parametrize(
    ("truth", "why"),
    [
        (drawn(), "no positions"),
        (drawn(chair=[]), "no positions"),
        (drawn(chair=[[3, 3]]), "single cell"),
        (drawn(chair=[[3, 3]], tv=[[3, 3]]), "single cell"),
        (drawn(chair=[[3, 3], [10, 0]]), "off the 10×10 grid"),
    ],
)
def test_truths_that_cannot_tell_maps_apart_are_not_graded(truth: CognitiveMap, why: str) -> None:
    for guess in (truth, TRUTH, drawn()):
        graded = grade_map(guess, truth)
        assert math.isnan(graded.value)
        assert why in graded.reason


@given(maps, maps)
@settings(max_examples=150, deadline=None)
def test_calibrated_invariants(guess: CognitiveMap, truth: CognitiveMap) -> None:
    every = {point for group in truth.positions.values() for point in group}
    assume(len(every) > 1)
    score = score_map(guess, truth)
    assert 0 <= score <= 1
    assert score_map(truth, truth) == pytest.approx(1, abs=1e-12)
    turned = CognitiveMap({c: tuple(reversed(p)) for c, p in reversed(guess.positions.items())})
    assert score_map(turned, truth) == pytest.approx(score, abs=1e-12)
    more = CognitiveMap(guess.positions | {"piano": ((4, 4),)})
    worse = score_map(more, truth)
    assert worse < score if score > 0 else worse == 0


@given(maps, st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_no_blind_map_earns_anything(truth: CognitiveMap, x: int, y: int) -> None:
    assume(len({point for group in truth.positions.values() for point in group}) > 1)
    blind = CognitiveMap({c: ((x, y),) * len(p) for c, p in truth.positions.items()})
    assert score_map(blind, truth) == pytest.approx(0, abs=1e-12)


@given(maps, st.data())
@settings(max_examples=100, deadline=None)
def test_moving_a_point_away_never_raises_the_score(truth: CognitiveMap, data: st.DataObject) -> None:
    assume(len({point for group in truth.positions.values() for point in group}) > 1)
    category = data.draw(st.sampled_from(truth.categories))
    guess = dict(truth.positions)
    before = data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    after = data.draw(st.tuples(st.integers(-2, 12), st.integers(-2, 12)))
    assume(all(math.dist(after, p) >= math.dist(before, p) for p in truth.positions[category]))
    scores = [
        score_map(CognitiveMap(guess | {category: (spot, *guess[category][1:])}), truth)
        for spot in (before, after)
    ]
    assert scores[1] <= scores[0] + 1e-12


def test_maps_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="calibrated, published"):
        score_map(TRUTH, TRUTH, rule="fair")
    with pytest.raises(ValueError, match="grid 10"):
        score_map(CognitiveMap({}, grid=None), TRUTH)
    with pytest.raises(ValueError, match="at least 1"):
        score_map(TRUTH, TRUTH, grid=0)


def item(category: str, x: float, y: float, size: float = 0.0) -> Item:
    box = Box(np.array([x, y, 0.5]), np.array([size, size, 1.0]), np.eye(3))
    return Item(category, box, f"{category}/{x}/{y}")


def test_cells_of_a_room_with_a_floor() -> None:
    # Floor 4 m × 2 m: the frame is the 4 m square around its middle, x 0..4, y −1..3; a cell is 0.4 m.
    floor = np.array([[0, 0], [4, 0], [4, 2], [0, 2]], dtype=float)
    items = (
        item("tv", 0.0, 0.0),
        item("chair", 3.99, 1.99),
        item("chair", 4.0, 0.99),
        item("bed", 9.0, -9.0),
    )
    scene = Scene("s", items, 8.0, floor)
    # tv: (0, 1/0.4 = 2.5) → (0, 2). chair: (9.97, 7.47) → (9, 7); (10 → 9, 4.97 → 4). bed: clipped to (9, 0).
    built = build_map(scene)
    assert built == CognitiveMap({"bed": ((9, 0),), "chair": ((9, 7), (9, 4)), "tv": ((0, 2),)})
    assert build_map(scene, ["tv"], grid=5).positions == {"tv": ((0, 1),)}
    assert build_map(scene, ["tv"], grid=None) == CognitiveMap({"tv": ((0.0, 0.0),)}, grid=None)
    assert build_map(scene, []) == CognitiveMap({})
    with pytest.raises(ValueError, match="has no piano"):
        build_map(scene, ["piano"])


def test_cells_of_a_room_without_a_floor() -> None:
    # Footprints: x −1..5 (items of 2 m edge at 0 and 4), y −1..1 → side 6, low (−1, −3); a cell is 0.6 m.
    scene = Scene("s", (item("tv", 0, 0, 2.0), item("bed", 4, 0, 2.0)), 8.0)
    # tv: (1/0.6 = 1.67, 3/0.6 = 5) → (1, 5); bed: (5/0.6 = 8.33) → (8, 5)
    assert build_map(scene).positions == {"bed": ((8, 5),), "tv": ((1, 5),)}
    assert build_map(Scene("s", (item("tv", 3, 3),), 1.0)).positions == {"tv": ((5, 5),)}
