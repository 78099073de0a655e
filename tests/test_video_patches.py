"""Patches equal to transformers' own, and their resizing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tolman.video.patches import QWEN2_5_VL, QWEN3_VL, PatchSpec, patchify, smart_resize, smart_resize_clip
from tolman.video.resize import resize

CASES = [
    f"{frames}/{who}" for frames in ("even", "odd", "up", "down") for who in ("qwen2_5", "qwen3", "image")
]
SMALL = PatchSpec(2, 1, 2, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1, 10**6)


@pytest.mark.parametrize("case", CASES)
def test_equal_to_transformers(shared_data: Path, case: str) -> None:
    arrays = np.load(shared_data / "pixels" / "pixels.npz")
    said = json.loads((shared_data / "pixels" / "pixels.json").read_text())[case]
    frames, who = case.split("/")
    spec = replace(
        QWEN3_VL if who == "qwen3" else QWEN2_5_VL,
        min_pixels=said["size"]["shortest_edge"],
        max_pixels=said["size"]["longest_edge"],
    )
    rgb = arrays[f"{frames}/frames"]
    pixels, grid = patchify(rgb[:1] if who == "image" else rgb, spec)
    assert grid.tolist() == arrays[f"{case}/grid"][0].tolist()
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, arrays[f"{case}/pixels"], rtol=0, atol=1e-5)


def test_order_by_hand() -> None:
    # one patch of 2 × 2 pixels and 2 frames per cell of a 1 × 1 × 2 grid: channel, then time, then rows
    rgb = np.arange(2 * 2 * 4 * 3, dtype=np.uint8).reshape(2, 2, 4, 3)
    pixels, grid = patchify(rgb, SMALL)
    assert grid.tolist() == [1, 1, 2]
    # frame t, row y, column x, channel c holds 24t + 12y + 3x + c; the second patch has x = 2, 3
    expected = [24 * t + 12 * y + 3 * x + c for c in range(3) for t in (0, 1) for y in (0, 1) for x in (2, 3)]
    np.testing.assert_allclose(pixels[1] * 255, expected, atol=1e-4)


def test_merge_blocks_come_together() -> None:
    # 4 × 4 cells of one pixel, merged 2 × 2: the first four rows are the upper left block
    rgb = np.repeat(np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1), 3, axis=3)
    pixels, grid = patchify(rgb, replace(SMALL, patch=1, merge=2, temporal=1))
    assert grid.tolist() == [1, 4, 4]
    blocks = (pixels[:, 0] * 255).round().astype(int)
    assert blocks.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]


def test_normalisation_by_hand() -> None:
    # (51/255 − 0.5)/0.25 = −1.2 in red; (255/255 − 0.5)/0.25 = 2 in blue
    rgb = np.zeros((2, 2, 2, 3), dtype=np.uint8)
    rgb[..., 0], rgb[..., 2] = 51, 255
    pixels, _ = patchify(rgb, replace(SMALL, mean=(0.5,) * 3, std=(0.25,) * 3))
    np.testing.assert_allclose(pixels[0], [-1.2] * 8 + [-2.0] * 8 + [2.0] * 8, atol=1e-6)


def test_odd_number_of_frames_repeats_the_last() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3, 56, 84, 3), dtype=np.uint8)
    spec = replace(QWEN2_5_VL, min_pixels=3136)
    padded = patchify(np.concatenate([rgb, rgb[2:]]), spec)
    pixels, grid = patchify(rgb, spec)
    assert grid.tolist() == [2, 4, 6]
    np.testing.assert_array_equal(pixels, padded.pixels)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (476, 644)),  # 17.14 and 22.86 multiples of 28 round to 17 and 23
        (70, 70, (112, 112)),  # 2.5 rounds to 2: 56² < 100²; grown by 100/70: ⌈100/28⌉ = 4 multiples
        (1200, 1200, (588, 588)),  # 43² multiples are too many; shrunk to 600: ⌊600/28⌋ = 21
        (20, 3000, (28, 2996)),  # 0.71 and 107.1 round to 1 and 107, within the bounds
    ],
)
def test_smart_resize(height: int, width: int, expected: tuple[int, int]) -> None:
    assert smart_resize(height, width, 28, 100 * 100, 600 * 600) == expected


@pytest.mark.parametrize(
    ("frames", "bounds", "expected"),
    [
        # 96 × 128 are 3 × 4 multiples of 32; 4 · 96 · 128 = 49,152 is within
        (4, (1, 49_152), (96, 128)),
        # one below: shrunk by √(49152/49151), just above 1: ⌊2.99…⌋ = 2 and 3 multiples
        (4, (1, 49_151), (64, 96)),
        # 5 frames count as 4 (2.5 rounds to 2 pairs): still within
        (5, (1, 49_152), (96, 128)),
        # 2 · 96 · 128 = 24,576 is too little; grown by √2: ⌈4.24⌉ = 5 and ⌈5.66⌉ = 6 multiples
        (2, (49_152, 10**9), (160, 192)),
    ],
)
def test_smart_resize_of_a_clip(frames: int, bounds: tuple[int, int], expected: tuple[int, int]) -> None:
    assert smart_resize_clip(frames, 96, 128, 2, 32, *bounds) == expected


def test_tiny_frames_grow_to_the_factor_first() -> None:
    # 20 × 30 scaled by 32/20 is 32 × 48: 1 and 1.5 → 2 (to even) multiples of 32
    assert smart_resize_clip(2, 20, 30, 2, 32, 1, 10**9) == (32, 64)


@pytest.mark.parametrize(("height", "width"), [(1, 201), (4020, 20)])
def test_narrow_frames_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="aspect ratio above 200"):
        smart_resize(height, width, 28, 1, 10**9)


@pytest.mark.parametrize("shape", [(2, 28, 28), (2, 28, 28, 4), (0, 28, 28, 3)])
def test_bad_frames(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"uint8 frames \(T, H, W, 3\)"):
        patchify(np.zeros(shape, dtype=np.uint8), QWEN2_5_VL)


class TestResize:
    def test_clamped_where_bicubic_overshoots(self) -> None:
        # an edge doubled in size: bicubic would leave 0..255 on both sides of it
        rgb = np.zeros((1, 4, 8, 3), dtype=np.uint8)
        rgb[:, :, 4:] = 255
        row = resize(rgb, (4, 16))[0, 0, :, 0].tolist()
        assert row[:4] == [0] * 4
        assert row[12:] == [255] * 4
        assert row == sorted(row)

    def test_close_to_the_float_result(self) -> None:
        # values far from 0 and 255, where the clamping between the two passes takes no part
        rgb = np.random.default_rng(0).integers(90, 166, (2, 61, 47, 3), dtype=np.uint8)
        exact = torch.nn.functional.interpolate(
            torch.from_numpy(rgb).permute(0, 3, 1, 2).double(), size=(28, 56), mode="bicubic", antialias=True
        )
        small = resize(rgb, (28, 56))
        assert np.abs(small - exact.permute(0, 2, 3, 1).numpy()).max() < 1.5

    def test_each_frame_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
        whole = resize(rgb, (28, 28))
        monkeypatch.setattr("tolman.video.resize._CHUNK_BYTES", 1)
        np.testing.assert_array_equal(resize(rgb, (28, 28)), whole)

    def test_same_size_is_the_input(self) -> None:
        rgb = np.zeros((1, 4, 4, 3), dtype=np.uint8)
        assert resize(rgb, (4, 4)) is rgb

    def test_bad_size(self) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            resize(np.zeros((1, 4, 4, 3), dtype=np.uint8), (0, 4))


class TestSpec:
    CONFIG: dict[str, object] = {  # noqa: RUF012
        "patch_size": 14,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "image_processor_type": "Qwen2VLImageProcessor",
    }

    def write(self, folder: Path, name: str, config: object) -> None:
        (folder / name).write_text(json.dumps(config))

    def test_qwen2_5(self, tmp_path: Path) -> None:
        self.write(tmp_path, "preprocessor_config.json", self.CONFIG)
        half, quarter = (0.5,) * 3, (0.25,) * 3
        assert PatchSpec.from_folder(tmp_path) == PatchSpec(14, 2, 2, half, quarter, 3136, 12845056)

    def test_the_video_file_wins(self, tmp_path: Path) -> None:
        self.write(tmp_path, "preprocessor_config.json", self.CONFIG)
        config = {k: v for k, v in self.CONFIG.items() if "pixels" not in k and "type" not in k} | {
            "patch_size": 16,
            "size": {"shortest_edge": 4096, "longest_edge": 25165824},
            "video_processor_type": "Qwen3VLVideoProcessor",
        }
        self.write(tmp_path, "video_preprocessor_config.json", config)
        spec = PatchSpec.from_folder(tmp_path)
        assert (spec.patch, spec.min_pixels, spec.max_pixels, spec.per_clip) == (16, 4096, 25165824, True)

    def test_nested_in_the_processors(self, tmp_path: Path) -> None:
        self.write(tmp_path, "processor_config.json", {"video_processor": self.CONFIG})
        assert PatchSpec.from_folder(tmp_path).patch == 14

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"no video preprocessing in video_preprocessor_config\.json"):
            PatchSpec.from_folder(tmp_path)

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"patch_size": None}, "lacks patch"),
            ({"patch_size": "x"}, "patch must be a positive integer, got 'x'"),
            ({"image_std": [0.5, 0.5, 0.0]}, "3 positive stds"),
            ({"image_mean": 3}, "not iterable"),
            ({"cap_pixels_per_frame": True}, "cap_pixels_per_frame"),
            ({"min_pixels": 10**9}, "min_pixels 1000000000 > max_pixels"),
        ],
    )
    def test_bad_values_name_the_file(self, tmp_path: Path, change: dict[str, object], match: str) -> None:
        self.write(tmp_path, "preprocessor_config.json", self.CONFIG | change)
        with pytest.raises(ValueError, match=rf"preprocessor_config\.json: .*{match}"):
            PatchSpec.from_folder(tmp_path)

    def test_not_json(self, tmp_path: Path) -> None:
        (tmp_path / "preprocessor_config.json").write_text("{")
        with pytest.raises(ValueError, match="not JSON"):
            PatchSpec.from_folder(tmp_path)
