"""The report: nothing of what a run wrote can run in it, and it shows what the files say."""

from __future__ import annotations

import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tolman.report.curves import line_chart, nice_ticks, running_mean
from tolman.report.html import Html, shortened, tag, text
from tolman.report.page import write_report
from tolman.report.png import png_bytes
from tolman.report.sections import spread
from tolman.video.encode import write_clip

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)>\x00\ud800 & "quoted"'
FIGURES = {
    "n": 4, "clips": 2, "score": 50.0, "stderr": 12.5, "chance": 25.0, "best_constant": 33.3,
    "best_answer": "B",
}  # fmt: skip


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def evaluation(score: float) -> dict[str, Any]:
    return {
        "benchmark": "vsibench", "rule": "official", "model": "starter", "clip_source": "true",
        "tasks": {
            "object_rel_distance": FIGURES | {"score": score}, "object_counting": FIGURES | {"chance": None}
        },
        "overall": score, "stderr": 1.5, "best_constant": 33.3, "total": 8, "unanswered": 1, "ungraded": 0,
    }  # fmt: skip


COUNTS = {
    "micro": 41.0, "macro": 40.0, "denominator": 7, "failure_rate": 12.5, "guessed": 2, "dropped": 1,
}  # fmt: skip


def prediction(number: int, clip: str, raw: str) -> dict[str, Any]:
    return {
        "id": number, "scene": f"room-{number}", "clip": clip, "question": HOSTILE,
        "options": ["A. x", HOSTILE], "ground_truth": "A", "raw": raw, "prediction": "A", "extracted": "A",
        "score": 1.0, "unanswered": False, "cognitive_map": {"chair": [[1, 2], [8, 8]]},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run, data = tmp_path / "run", tmp_path / "data"
    run.mkdir()
    data.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (9, 32, 32, 3), np.uint8)
    write_clip(data / "a.mp4", frames, 2.0)
    drawn = '<think><map>{"chair": [[1, 2]], "<script>": [[3, 3]]}</map></think><answer>A</answer>'
    lines(run / "predictions_before.jsonl", [prediction(1, "a.mp4", HOSTILE), prediction(2, "gone.mp4", "x")])
    lines(run / "predictions_after.jsonl", [prediction(1, "a.mp4", drawn), prediction(2, "gone.mp4", drawn)])
    difference = {"difference": 10.0, "stderr": 2.0, "low": 6.0, "high": 14.0}
    content = {
        "evaluations": {
            "before": evaluation(40.0) | COUNTS | {"strict": evaluation(61.5) | COUNTS | {"micro": 63.25}},
            "after": evaluation(50.0),
        },
        "difference": {"overall": difference, "tasks": {"object_rel_distance": difference}, "n": 8},
    }
    (run / "evaluation.json").write_text(json.dumps(content))
    lines(
        run / "metrics.jsonl",
        [{"step": k, "reward": k / 10, "kl": None, HOSTILE: 0.1 * k} for k in range(1, 20)],
    )
    rewards = {"accuracy": {"value": 0.5, "reason": HOSTILE}, "map": {"value": None, "reason": "no truth"}}
    row = {
        "step": 1,
        "problem_id": HOSTILE,
        "completion": HOSTILE,
        "rewards": rewards,
        "reward": None,
        "solution": "A",
    }
    lines(run / "rollouts.jsonl", [row] * 30)
    with (run / "rollouts.jsonl").open("a") as stream:
        stream.write('{"cut": "by a k')  # a kill in the middle of a line
    lines(run / "skipped.jsonl", [{"step": 3, "path": HOSTILE, "reason": HOSTILE}])
    (run / "recipe.toml").write_text(f'[run]\nname = "mine </title>"\n[data]\npath = "{data}"\n')
    return run


class Tags(HTMLParser):
    """Every element with its attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_hostile_text_stays_text(folder: Path) -> None:
    page = Tags(write_report(folder).read_text(encoding="utf-8"))
    names = {name for name, _ in page.elements}
    assert not names & {"script", "iframe", "object", "link", "form"}
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on")], name
        for key in ("src", "href", "action"):
            assert (attributes.get(key) or "data:").startswith("data:")
    words = "".join(page.words)
    assert words.count("<script>alert(1)</script>") >= 10
    assert "mine </title>" in words
    assert "\x00" not in words


def test_shows_what_the_files_say(folder: Path) -> None:
    page = Tags(write_report(folder).read_text(encoding="utf-8"))
    words = re.sub(r"\s+", " ", " ".join(page.words))
    for said in ("Relative distance", "40.0", "50.0", "± 1.5", "+10.0", "[+6.0, +14.0]", "33.3"):
        assert said in words
    assert "1 without an answer" in words
    assert "10 of 30 completions" in words
    assert "not gradable" in words
    assert "Clip gone.mp4 was not found; its frames are not shown." in words
    pictures = [a["src"] or "" for name, a in page.elements if name == "img"]
    assert sum(src.startswith("data:image/png") for src in pictures) == 8
    # per clip the true map and the one drawn after; before, clip 1 wrote no map and neither did clip 2
    assert sum(src.startswith("data:image/svg") for src in pictures) == 4
    assert [name for name, _ in page.elements].count(
        "svg"
    ) == 2  # reward and the oddly named one; kl has no value


def test_shows_what_figures_are_taken_over_by_both_rules(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    body = page[page.index("scored by") :]
    cells = [re.sub("<[^>]+>", " ", row).split() for row in re.findall("<tr>(.*?)</tr>", body)[:2]]
    assert cells[0] == ["before,", "official", "40.0", "40.0", "41.0", "7", "8", "12.5", "2", "1"]
    assert cells[1] == ["before,", "strict", "61.5", "40.0", "63.2", "7", "8", "12.5", "2", "1"]


def test_every_file_is_optional_but_not_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        write_report(tmp_path / "absent")
    with pytest.raises(ValueError, match="nothing to report"):
        write_report(tmp_path)
    lines(tmp_path / "metrics.jsonl", [{"step": 1, "loss": 0.5}])
    assert "loss" in write_report(tmp_path).read_text()


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not JSON"):
        write_report(tmp_path)


def test_escaping() -> None:
    assert text('<a href="x">&') == "&lt;a href=&quot;x&quot;&gt;&amp;"
    assert text(Html("<b>")) == "<b>"
    assert tag("p", "<b>", Html("<i>"), class_='"') == '<p class="&quot;">&lt;b&gt;<i></p>'
    assert "… 2,000 more characters" in shortened("x" * 6000)


def test_png_decodes_to_the_same_pixels() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    content = png_bytes(rgb)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (7, 5)
    at, packed = 8, b""
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        assert struct.unpack(">I", content[at + 8 + size : at + 12 + size])[0] == zlib.crc32(name + body)
        packed += body if name == b"IDAT" else b""
        at += 12 + size
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(5, 22)
    assert (rows[:, 0] == 2).all()  # every row is the difference to the one above
    assert (np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(5, 7, 3) == rgb).all()
    with pytest.raises(ValueError, match="uint8"):
        png_bytes(rgb.astype(np.float32))


def test_ticks_and_means() -> None:
    assert nice_ticks(0.0, 1.0) == pytest.approx([0.0, 0.5, 1.0])
    assert nice_ticks(3.0, 3.0)[0] < 3.0 < nice_ticks(3.0, 3.0)[-1]
    assert running_mean([1, 2, 6], 1) == pytest.approx([1.5, 3.0, 4.0])
    assert spread(3, 10) == [0, 1, 2]
    assert spread(101, 3) == [0, 50, 100]
    with pytest.raises(ValueError, match="no finite value"):
        line_chart([1.0], [float("nan")], "kl")
    assert "<script>" not in line_chart([1, 2], [1, 2], "<script>")


def test_the_curve_goes_up_when_the_values_do() -> None:
    # y grows downwards in SVG: the last point of a rising curve has the smaller y
    points = re.findall(r'class="raw" points="([^"]+)"', line_chart([1, 2], [0, 1], "reward"))[0].split()
    (x0, y0), (x1, y1) = (tuple(map(float, point.split(","))) for point in points)
    assert x1 > x0
    assert y1 < y0
