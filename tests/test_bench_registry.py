"""The registry: what every benchmark's file must have."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tolman.bench import benchmarks
from tolman.bench.benchmark import KINDS, Benchmark, find_benchmark, registry, row_shares, rule_names
from tolman.bench.frames import Sampling
from tolman.bench.score import find_rule

FILES = sorted(Path(benchmarks.__path__[0]).glob("[a-z]*.py"))
ENTRIES = list(registry().values())
names = pytest.mark.parametrize("entry", ENTRIES, ids=[entry.name for entry in ENTRIES])


NAMED = (  # SpaceR's six, then all whose rule is code
    "vsibench", "stibench", "sparbench", "videomme", "tempcompass_multi_choice", "tempcompass_yes_no",
    "tempcompass_caption_matching", "longvideobench", "videommmu", "mvbench", "mmvu", "video_holmes", "mlvu",
    "lvbench", "egoschema", "nextqa", "nextgqa", "ovobench", "openeqa", "3dsrbench", "cv_bench", "blink",
    "mmsi_bench", "mindcube", "dsi_bench", "viewspatial", "spatialscore", "vsisuper_recall", "vsisuper_count",
    "egost", "vstar", "seed_bench_r1", "perceptiontest", "charades_sta", "activitynet_tvg", "videomathqa",
    "scivideobench",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
def test_every_benchmark_that_was_promised_can_be_read_and_asked(name: str) -> None:
    entry = find_benchmark(name)
    assert entry.read is not None
    assert entry.prompt is not None
    assert entry.official in entry.rules


@names
def test_the_frames_that_a_benchmark_is_shown_with_can_be_taken(entry: Benchmark) -> None:
    if entry.sampling:
        found = Sampling(**({"frames": None} | dict(entry.sampling)))
        said = found.frames if found.fps is None else found.fps
        assert re.search(rf"\b{said:g}\b|one a second", entry.frames)


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_a_benchmark_is_one_short_file(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 40


@names
def test_an_entry_says_what_it_is(entry: Benchmark) -> None:
    assert entry.name == entry.name.lower().replace("-", "_")
    assert entry.title
    assert entry.citation
    assert entry.licence
    assert entry.chance is None or 0 < entry.chance <= 50
    assert not entry.published or entry.published_in
    if entry.read is not None:
        assert entry.source
        assert entry.files
        assert entry.prompt is not None
        assert entry.frames
    assert all(rule.about for rule in entry.rules.values())


@names
def test_official_is_the_first_name_where_there_is_one(entry: Benchmark) -> None:
    found = rule_names(entry)
    assert "strict" in found
    assert set(entry.rules) <= set(found)
    if "official" in found:
        assert found[0] == "official"
        assert find_rule(entry.name, "official") == entry.rules[entry.official]
    else:
        with pytest.raises(ValueError, match="has no rule 'official'; it has: strict"):
            find_rule(entry.name, "official")


@names
def test_a_kind_is_a_known_one(entry: Benchmark) -> None:
    kinds = entry.tasks or ("",)
    for kind in kinds:
        try:
            found = entry.kind({"question_type": kind, "options": ["a", "b"], "ground_truth": "A"})
        except (ValueError, KeyError):  # benchmarks that know their question types
            continue
        assert found in KINDS


def test_names_with_hyphens_are_the_same() -> None:
    assert find_benchmark("Video-Holmes") is find_benchmark("video_holmes")


@pytest.mark.parametrize("macro", [False, True])
def test_shares_sum_to_one(macro: bool) -> None:
    entry = find_benchmark("viewspatial")
    found = row_shares(entry, ["x", "x", "y"], macro)
    assert found.sum() == pytest.approx(1.0)
    assert found == pytest.approx(np.array([0.25, 0.25, 0.5] if macro else [1 / 3] * 3))
    with pytest.raises(ValueError, match="no rows"):
        row_shares(entry, [], macro)
