"""Questions about images: in files, in folders and in tables; what is shown and what is on disk."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from chat_world import frames_of
from policy_tiny import tiny_policy
from tolman.bench.asking import question
from tolman.bench.backends.backend import Reply, Request
from tolman.bench.backends.images import clip_parts, message
from tolman.bench.backends.in_process import InProcess
from tolman.bench.benchmark import find_benchmark
from tolman.bench.evaluate import Evaluation, evaluate
from tolman.bench.frames import Images, Sampling, image_files, show_images
from tolman.bench.load import load_questions, question_of
from tolman.bench.pictures import parquet_rows, unpack_images
from tolman.bench.suites import read_suite
from tolman.policy.generate import generate
from tolman.policy.prompt import build_image_prompt, encode_image
from tolman.questions.question import Question
from tolman.report.clips import frames
from tolman.video.clip import read_clip
from tolman.video.errors import ClipError

GREYS = {"a.png": (30, 40, 60), "b.png": (90, 28, 56), "c.jpg": (200, 56, 28)}  # value, height, width


class Watching:
    """Answers B, and remembers what it was shown."""

    name, sampling = "watching", Sampling(frames=4)

    def __init__(self) -> None:
        self.shown: dict[int, Any] = {}

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        for batch in batches:
            for request in batch:
                self.shown[request.number] = request.shown
                yield request, Reply("B", 1, True, 0.01)

    def values(self, number: int) -> list[int]:
        """The grey of each image of a question."""
        return [round(float(rgb.mean())) for rgb in self.shown[number].rgb]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, (value, height, width) in GREYS.items():
        Image.new("RGB", (width, height), (value, value, value)).save(tmp_path / name)
    (tmp_path / "set").mkdir()
    for number, name in enumerate(["b.png", "a.png"], 1):
        (tmp_path / "set" / f"{number:02d}.png").write_bytes((tmp_path / name).read_bytes())
    return tmp_path


def about(number: int, path: str) -> Question:
    return question(
        "blink", number, f"Question {number}?", "B", options=["x", "y"], clip=path, kind="Counting",
        media="images",
    )  # fmt: skip


def run(backend: Any, asked: list[Question], root: Path, **options: Any) -> Evaluation:
    settings = {"benchmark": "blink", "template": "blink", "max_new_tokens": 8}
    return evaluate(backend, asked, root, **settings | options)


def test_files_and_folders_are_shown_in_order(folder: Path) -> None:
    backend = Watching()
    found = run(backend, [about(0, "a.png|c.jpg"), about(1, "set"), about(2, "a.png|c.jpg")], folder)
    assert (backend.values(0), backend.values(1)) == ([30, 200], [90, 30])
    assert backend.shown[0] is backend.shown[2]  # read once
    assert [row["frames"] for row in found.rows] == [2, 2, 2]
    assert found.rows[0]["frame_size"] == [[40, 60], [56, 28]]
    assert found.rows[1]["frame_times"] == []
    assert found.settings["image_resolution"] is None
    assert found.figures.overall == 100.0


def test_images_are_resized_only_where_a_size_is_asked_for(folder: Path) -> None:
    backend = Watching()
    sampling = Sampling(4, size=(28, 28), image_size=(56, 84))
    found = run(backend, [about(0, "a.png|b.png")], folder, sampling=sampling)
    assert found.rows[0]["frame_size"] == [[56, 84], [56, 84]]
    assert backend.shown[0].resized


def test_images_can_be_taken_away(folder: Path) -> None:
    asked = [about(0, "a.png|b.png|c.jpg"), about(1, "set")]
    seen = {}
    for source in ("none", "one", "shuffled", "other"):
        backend = Watching()
        found = run(backend, asked, folder, clip_source=source)
        seen[source] = backend
        assert found.figures.unanswered == 0
    assert seen["none"].shown == {0: None, 1: None}
    assert (seen["one"].values(0), seen["one"].values(1)) == ([90], [90])  # the middle one, of two the first
    mixed = seen["shuffled"].values(0)
    assert sorted(mixed) == [30, 90, 200]
    assert mixed != [30, 90, 200]
    assert seen["other"].values(1) == [30, 90, 200]


def test_an_image_that_cannot_be_read_is_a_row_without_an_answer(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    (folder / "empty").mkdir()
    asked = [about(0, "a.png|broken.png"), about(1, "a.png|absent.png"), about(2, "empty"), about(3, "a.png")]
    found = run(Watching(), asked, folder)
    assert [row["unanswered"] for row in found.rows] == [True, True, True, False]
    reasons = [row["reason"] for row in found.rows[:3]]
    for reason, said in zip(
        reasons, ["broken.png", "absent.png: does not exist", "without images"], strict=True
    ):
        assert said in reason
    with pytest.raises(ClipError):
        image_files(folder, "empty")


@pytest.mark.parametrize("path", ["../a.png", "a.png|/etc/passwd", "set/../../b.png"])
def test_images_outside_the_folder_are_refused(folder: Path, path: str) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        run(Watching(), [about(0, path)], folder)


def test_a_policy_answers_as_it_does_when_asked_directly(folder: Path) -> None:
    torch.set_num_threads(1)
    policy = tiny_policy()
    asked = [about(0, "a.png|c.jpg"), about(1, "set"), about(2, "a.png")]
    found = run(InProcess(policy), asked, folder)
    for row, one in zip(found.rows, asked, strict=True):
        shown = show_images(folder, one.path, Sampling(4), "true", 0)
        words = Question(0, row["prompt"], "images", "free-form", None, "", "", "")
        images = [encode_image(policy, rgb) for rgb in shown.rgb]
        prompt = build_image_prompt(policy, words, images, "verbatim")
        ((sample,),) = generate(policy, [prompt], 1, max_new_tokens=8, temperature=0)
        assert row["raw"] == sample.text
    sized = InProcess(policy)
    sized.sampling = Sampling(4, image_size=(56, 84))
    assert run(sized, asked[:1], folder).rows[0]["frame_size"] == [[56, 84], [56, 84]]


def test_the_report_shows_them(folder: Path) -> None:
    found = run(Watching(), [about(0, "a.png|c.jpg"), about(1, "set"), about(2, "a.png|absent.png")], folder)
    nowhere = SimpleNamespace(clips=None, path=folder / "run")
    strips = [frames(nowhere, row, read_clip) for row in found.rows]  # type: ignore[arg-type]
    assert [strip.count("<img") for strip in strips] == [2, 2, 0]
    assert "was not found" in strips[2]


@pytest.mark.parametrize("form", ["images", "video"])
def test_images_go_to_a_server_as_images(form: str) -> None:
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    parts = clip_parts(Images("x", (smooth, smooth[::-1])), form)
    assert [part["type"] for part in parts] == ["image_url", "image_url"]
    sent = frames_of({"messages": [message(parts, "?")]})
    assert sent is not None
    assert np.abs(sent[1].astype(int) - smooth[::-1]).mean() < 3


# Tables that hold their images


def encoded(value: int, kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (value, value, value)).save(out, kind)
    return out.getvalue()


def greys(folder: Path) -> list[int]:
    """Of the images in a folder, in order."""
    found = []
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            found.append(round(float(np.asarray(image.convert("RGB")).mean())))
    return found


def unpacked(name: str, file: Path, root: Path) -> int:
    entry = find_benchmark(name)
    return unpack_images([file], lambda path, number, row: question_of(entry, path, number, row), root)


def blink_rows() -> list[dict[str, Any]]:
    """BLINK's columns: image_1 … image_4 as Hugging Face stores them."""
    common = {"question": "How many?", "choices": ["1", "2"], "answer": "(B)", "sub_task": "Counting"}
    first = {"bytes": encoded(10, "PNG"), "path": "x.png"}
    second = {"bytes": encoded(250, "JPEG"), "path": None}
    return [
        common | {"idx": "val_Counting_1", "image_1": first, "image_2": second, "image_3": None},
        common | {"idx": "val_Counting_2", "image_1": second, "image_2": None, "image_3": None},
    ]


def test_a_parquet_table_with_its_images(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install pyarrow)")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = tmp_path / "Counting" / "val-00000-of-00001.parquet"
    file.parent.mkdir()
    parquet.write_table(arrow.Table.from_pylist(blink_rows()), file)
    found = load_questions("blink", tmp_path)
    assert [one.path for one in found] == ["images/val_Counting_1", "images/val_Counting_2"]
    assert [(one.answer, one.options) for one in found] == [("B", ("A. 1", "B. 2"))] * 2
    assert not any("image_1" in row for row in parquet_rows(file, pictures=False))
    assert unpacked("blink", file, tmp_path) == 2
    assert greys(tmp_path / "images" / "val_Counting_1") == [10, 250]
    assert greys(tmp_path / "images" / "val_Counting_2") == [250]
    assert sorted(one.name for one in (tmp_path / "images" / "val_Counting_1").iterdir()) == [
        "01.png",
        "02.jpg",
    ]
    assert unpacked("blink", file, tmp_path) == 0  # nothing is written twice
    backend = Watching()
    assert run(backend, found, tmp_path).figures.overall == 100.0
    assert backend.values(0) == [10, 250]
    file.write_bytes(b"PAR1 nonsense")
    with pytest.raises(ValueError, match=r"val-00000-of-00001\.parquet: not a Parquet file"):
        load_questions("blink", tmp_path)


def test_other_image_benchmarks_as_they_are_published(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install pyarrow)")
    parquet = pytest.importorskip("pyarrow.parquet")
    common = {"question": "Which?", "answer": "(B)", "choices": ["x", "y"], "source": "COCO", "task": "Count"}
    for kind, value in (("2D", 10), ("3D", 250)):  # two files of one benchmark, with the same numbers
        row = common | {"idx": 0, "type": kind, "image": {"bytes": encoded(value, "PNG"), "path": None}}
        (tmp_path / "cv_bench").mkdir(exist_ok=True)
        table = arrow.Table.from_pylist([row])
        parquet.write_table(table, tmp_path / "cv_bench" / f"test_{kind.lower()}.parquet")
    mmsi = {
        "id": 7, "images": [encoded(10, "JPEG"), encoded(250, "JPEG")], "question_type": "Motion (Cam.)",
        "question": "Which?", "answer": "B", "thought": "",
    }  # fmt: skip
    (tmp_path / "mmsi_bench").mkdir()
    parquet.write_table(arrow.Table.from_pylist([mmsi]), tmp_path / "mmsi_bench" / "MMSI_Bench.parquet")
    cube = {"id": "among_1", "question": "Which?", "gt_answer": "B", "images": ["all/a.png", "all/b.png"]}
    (tmp_path / "mindcube" / "all").mkdir(parents=True)
    for name, value in (("a", 10), ("b", 250)):
        (tmp_path / "mindcube" / "all" / f"{name}.png").write_bytes(encoded(value, "PNG"))
    (tmp_path / "mindcube" / "MindCube_tinybench.jsonl").write_text(json.dumps(cube))
    parts = read_suite(["cv_bench", "mmsi_bench", "mindcube"], tmp_path)
    found = []
    for part in parts:
        backend = Watching()
        name = part.entry.name
        run(backend, part.questions, part.root, benchmark=name, template=name)
        found.append([backend.values(number) for number in range(len(part.questions))])
    assert found == [[[10], [250]], [[10, 250]], [[10, 250]]]


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tolman.bench import pictures

    def none(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(pictures.importlib, "import_module", none)
    (tmp_path / "qa.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"qa\.parquet: reading Parquet needs pyarrow \(pip install"):
        load_questions("stibench", tmp_path)


def dsr_table(path: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """3DSRBench as VLMEvalKit publishes it: (index, qid, image) and the same question in each row."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t")
        writer.writerow(["index", "qid", "question", "A", "B", "C", "D", "answer", "category", "image"])
        for index, qid, image in rows:
            writer.writerow([index, qid, "Which?", "x", "y", "", "", "B", "height_higher", image])


def test_a_tsv_table_with_images_in_base64(tmp_path: Path) -> None:
    large = base64.b64encode(encoded(10, "PNG") + bytes(200_000)).decode()  # longer than csv's own limit
    file = tmp_path / "3dsrbench_v1_vlmevalkit_circular.tsv"
    dsr_table(file, [("0", "AAAA", large), ("1", "AAAA-flip", "0")])
    found = load_questions("3dsrbench", tmp_path)
    assert [(one.path, one.options) for one in found] == [
        ("images/0", ("A. x", "B. y")),
        ("images/1", ("A. x", "B. y")),
    ]
    assert unpacked("3dsrbench", file, tmp_path) == 2
    assert greys(tmp_path / "images" / "1") == [10]  # the image of the row that it names


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("0", "AAAA", "7")], r"row 1: names the image of row '7'"),
        ([("0", "AAAA", "!" * 80)], r"row 1: an image that is not base64"),
        ([("0", "AAAA", base64.b64encode(b"x" * 80).decode())], r"row 1: a cell that is no image"),
        ([("0", "AA", base64.b64encode(encoded(1, "PNG")).decode())] * 2, r"row 2: a second question"),
        ([("../../0", "AA", base64.b64encode(encoded(1, "PNG")).decode())], r"lies outside"),
    ],
)
def test_cells_that_are_no_images(tmp_path: Path, rows: list[Any], message: str) -> None:
    file = tmp_path / "3dsrbench.tsv"
    dsr_table(file, rows)
    with pytest.raises(ValueError, match=message):
        unpacked("3dsrbench", file, tmp_path / "root" / "deep")
