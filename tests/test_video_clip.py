"""Reading clips: exact frames, and every way in which a file can be bad."""

from __future__ import annotations

import pickle
import shutil
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tolman.video import clip as clip_module
from tolman.video.clip import ClipError, read_clip
from tolman.video.encode import write_clip
from tolman.video.sample import rate_indices, uniform_indices

REAL = ("llamafactory_2.avi", "llamafactory_3.mp4", "vggt_room.mp4", "videor1_video1.mp4")


def numbered(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """(count, H, W, 3): bit b of the frame's number lights the b-th of eight 6-pixel columns."""
    rgb = np.zeros((count, height, width, 3), dtype=np.uint8)
    for k in range(count):
        for bit in range(8):
            rgb[k, :, bit * 6 : bit * 6 + 6] = 255 * (k >> bit & 1)
    return rgb


def numbers(rgb_THWC: np.ndarray) -> list[int]:
    """The frame numbers that `numbered` wrote."""
    columns = rgb_THWC[:, :, :48].reshape(len(rgb_THWC), -1, 8, 6, 3)[:, :, :, 1:5].mean(axis=(1, 3, 4)) > 127
    return [int((row * 2 ** np.arange(8)).sum()) for row in columns]


def encode(path: Path, rgb: np.ndarray, pts: list[int], options: dict[str, str], **kwargs: object) -> None:
    """Encode with explicit time stamps in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(str(kwargs.get("codec", "libx264")), rate=25)
        stream.height, stream.width = rgb.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = options
        stream.codec_context.time_base = Fraction(1, 1000)
        if "rotation" in kwargs:
            stream.set_display_rotation(kwargs["rotation"])
        for image, stamp in zip(rgb, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


BFRAMES = {"preset": "medium", "crf": "18", "g": "12", "bf": "3", "b_strategy": "0", "sc_threshold": "0"}


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """60 numbered frames at irregular times, with B-frames and key frames every 12; (file, times in ms)."""
    pts = np.cumsum(np.random.default_rng(0).integers(5, 400, 60)) - 5
    path = tmp_path_factory.mktemp("clips") / "variable.mp4"
    encode(path, numbered(60), [int(p) for p in pts], BFRAMES)
    with av.open(str(path)) as container:
        stored = [p.pts for p in container.demux(video=0) if p.pts is not None]
    assert stored != sorted(stored)  # there are B-frames indeed
    return path, pts


class TestSampling:
    def test_uniform_by_hand(self) -> None:
        # linspace(0, 9, 4) = 0, 3, 6, 9; linspace(0, 5, 3) = 0, 2.5, 5 and 2.5 rounds to even, 2
        assert uniform_indices(10, 4).tolist() == [0, 3, 6, 9]
        assert uniform_indices(6, 3).tolist() == [0, 2, 5]
        assert uniform_indices(5, 1).tolist() == [0]

    def test_never_the_same_frame_twice(self) -> None:
        assert uniform_indices(3, 8).tolist() == [0, 1, 2]

    def test_rate_by_hand(self) -> None:
        # 4 frames/s for 2 s, one frame a second: those that start at 0, 1 and 2 s
        assert rate_indices(np.arange(9) / 4, 1.0).tolist() == [0, 4, 8]

    def test_rate_takes_the_frame_that_is_shown(self) -> None:
        # at 1 s the frame of 0.02 s is still shown, at 2 s that of 1.9 s; frame 1 is over before any instant
        assert rate_indices(np.array([0.0, 0.01, 0.02, 1.9, 2.5]), 1.0).tolist() == [0, 2, 3]

    def test_rate_above_the_clips_own_gives_all(self) -> None:
        assert rate_indices(np.array([0.0, 0.1, 5.0]), 1000.0).tolist() == [0, 1, 2]

    def test_rate_with_a_cap_spreads_over_time(self) -> None:
        # instants 0, 0.5, 1, …, 4 would be 9 frames; capped at 3: 0, 2, 4 s, frames 0, 4, 8
        assert rate_indices(np.arange(9) / 2, 2.0, 3).tolist() == [0, 4, 8]

    def test_rounded_time_stamps_do_not_skip_a_frame(self) -> None:
        # at 29.97 frames/s each frame is asked for at its own start, whatever the rounding
        times = np.arange(300) * (1001 / 30000)
        assert rate_indices(times, 30000 / 1001).tolist() == list(range(300))

    @pytest.mark.parametrize(("total", "frames"), [(0, 4), (4, 0), (4, -1)])
    def test_nothing_to_sample(self, total: int, frames: int) -> None:
        with pytest.raises(ValueError, match="at least 1"):
            uniform_indices(total, frames)


class TestExactness:
    @pytest.mark.parametrize("frames", [1, 2, 7, 16, 59, 60, 100])
    def test_variable_rate_with_b_frames(self, variable: tuple[Path, np.ndarray], frames: int) -> None:
        path, pts = variable
        expected = uniform_indices(60, frames)
        clip = read_clip(path, frames=frames)
        assert numbers(clip.rgb_THWC) == expected.tolist()
        np.testing.assert_allclose(clip.times_T, (pts[expected] - pts[0]) / 1000, atol=1e-5)

    def test_seeking_alone_finds_every_frame(
        self, variable: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            clip_module, "_scan_and_take", lambda *_: pytest.fail("fell back to decoding all")
        )
        for frames in (1, 7, 60):
            read_clip(variable[0], frames=frames)

    def test_a_seek_that_misses_falls_back(
        self, variable: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clip_module, "_take_until", lambda *_: None)
        assert numbers(read_clip(variable[0], frames=5).rgb_THWC) == uniform_indices(60, 5).tolist()

    def test_by_rate_at_variable_rate(self, variable: tuple[Path, np.ndarray]) -> None:
        path, pts = variable
        seconds = (pts - pts[0]) / 1000
        expected = sorted(
            {int(np.flatnonzero(seconds <= t + 1e-6)[-1]) for t in np.arange(0, seconds[-1], 0.5)}
        )
        assert numbers(read_clip(path, fps=2).rgb_THWC) == expected

    @pytest.mark.parametrize("name", REAL)
    @pytest.mark.parametrize("frames", [1, 5, 16, 32])
    def test_real_clips_equal_decoding_everything(self, shared_data: Path, name: str, frames: int) -> None:
        path = shared_data / "real" / "video" / name
        with av.open(str(path)) as container:
            whole = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
        clip = read_clip(path, frames=frames)
        np.testing.assert_array_equal(clip.rgb_THWC, whole[uniform_indices(len(whole), frames)])

    def test_one_frame_a_second(self, shared_data: Path) -> None:
        clip = read_clip(shared_data / "real" / "video" / "vggt_room.mp4", frames=16)
        assert clip.rgb_THWC.shape == (8, 384, 512, 3)
        np.testing.assert_allclose(clip.times_T, np.arange(8))

    def test_film_rate(self, shared_data: Path) -> None:
        # 24000/1001 frames/s: frame k starts at k · 1001/24000 s
        clip = read_clip(shared_data / "real" / "video" / "llamafactory_3.mp4")
        np.testing.assert_allclose(clip.times_T, np.arange(146) * 1001 / 24000, atol=1e-9)

    def test_one_frame(self, tmp_path: Path) -> None:
        write_clip(tmp_path / "one.mp4", numbered(6)[5:], 4)
        clip = read_clip(tmp_path / "one.mp4", frames=8)
        assert numbers(clip.rgb_THWC) == [5]
        assert clip.times_T.tolist() == [0.0]

    @pytest.mark.parametrize("suffix", ["mkv", "ts", "avi"])
    def test_other_containers(self, tmp_path: Path, suffix: str) -> None:
        # a transport stream starts at 1.4 s, not at 0; AVI has no presentation time stamps
        path = tmp_path / f"clip.{suffix}"
        options = BFRAMES | ({"bf": "0"} if suffix == "avi" else {})
        encode(path, numbered(40), [40 * k for k in range(40)], options)
        clip = read_clip(path, frames=9)
        assert numbers(clip.rgb_THWC) == uniform_indices(40, 9).tolist()
        assert clip.times_T[0] == 0.0

    def test_no_time_stamps_at_all(self, tmp_path: Path) -> None:
        encode(tmp_path / "raw.h264", numbered(40), [40 * k for k in range(40)], BFRAMES)
        clip = read_clip(tmp_path / "raw.h264", frames=9)
        assert numbers(clip.rgb_THWC) == uniform_indices(40, 9).tolist()

    def test_a_codec_whose_frames_cannot_be_skipped(self, tmp_path: Path) -> None:
        encode(tmp_path / "c.avi", numbered(40), [40 * k for k in range(40)], {"g": "10"}, codec="mpeg4")
        assert numbers(read_clip(tmp_path / "c.avi", frames=9).rgb_THWC) == uniform_indices(40, 9).tolist()


class TestRotation:
    @pytest.mark.parametrize("degrees", [0, 90, 180, -90])
    def test_turned_counter_clockwise(self, tmp_path: Path, degrees: int) -> None:
        # left half red, right half blue; turned by 90° counter-clockwise the right side comes to the top
        image = np.zeros((2, 32, 48, 3), dtype=np.uint8)
        image[:, :, :24, 0] = image[:, :, 24:, 2] = 255
        encode(tmp_path / "r.mp4", image, [0, 40], {"crf": "10"}, rotation=degrees)
        rgb = read_clip(tmp_path / "r.mp4", frames=1).rgb_THWC[0]
        assert rgb.shape == ((32, 48, 3) if degrees % 180 == 0 else (48, 32, 3))
        y, x = {0: (16, 40), 90: (6, 16), 180: (16, 6), -90: (40, 16)}[degrees]
        assert rgb[y, x, 2] > 200
        assert rgb[y, x, 0] < 60

    def test_a_phones_upright_matrix(self, tmp_path: Path) -> None:
        # QuickTime's track matrix {0 1 0, −1 0 0, 0 0 1} sends (x, y) to (−y, x) with y down: right goes to
        # down, a quarter turn clockwise, so the left (red) half comes to the top
        image = np.zeros((2, 32, 48, 3), dtype=np.uint8)
        image[:, :, :24, 0] = image[:, :, 24:, 2] = 255
        encode(tmp_path / "r.mp4", image, [0, 40], {"crf": "10"})
        data = (tmp_path / "r.mp4").read_bytes()
        plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
        turned = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
        track = data.index(b"tkhd")
        (tmp_path / "r.mp4").write_bytes(data[:track] + data[track:].replace(plain, turned, 1))
        rgb = read_clip(tmp_path / "r.mp4", frames=1).rgb_THWC[0]
        assert rgb.shape == (48, 32, 3)
        assert rgb[6, 16, 0] > 200
        assert rgb[40, 16, 2] > 200

    def test_other_angles_are_refused_by_name(self, tmp_path: Path) -> None:
        encode(tmp_path / "r.mp4", numbered(2), [0, 40], {}, rotation=45)
        with pytest.raises(ClipError, match="rotated by 45 degrees"):
            read_clip(tmp_path / "r.mp4")


class TestBadFiles:
    def check(self, path: Path, reason: str) -> None:
        with pytest.raises(ClipError, match=reason) as caught:
            read_clip(path, frames=4)
        assert caught.value.path == str(path)
        assert str(path) in str(caught.value)

    def test_missing(self, tmp_path: Path) -> None:
        self.check(tmp_path / "none.mp4", "does not exist")

    def test_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path, "is a folder")

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "e.mp4").touch()
        self.check(tmp_path / "e.mp4", "0 bytes")

    def test_not_a_video(self, tmp_path: Path) -> None:
        (tmp_path / "t.mp4").write_text("this is no video\n" * 100)
        self.check(tmp_path / "t.mp4", "not a video")

    def test_audio_only(self, tmp_path: Path) -> None:
        self.sound(tmp_path / "a.m4a", video=False)
        self.check(tmp_path / "a.m4a", "no video stream, only audio")

    def test_no_frames(self, tmp_path: Path) -> None:
        self.sound(tmp_path / "z.mkv", video=True)
        self.check(tmp_path / "z.mkv", "has no frames")

    def sound(self, path: Path, video: bool) -> None:
        """Write one frame of silence, and a video stream that stays empty if `video`."""
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44100)
            if video:
                container.add_stream("mpeg4", rate=25)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), "fltp", "mono")
            frame.rate = 44100
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    @pytest.mark.parametrize(
        ("suffix", "share"),
        [
            (s, x)
            for s in ("mp4", "fast.mp4", "mkv")
            for x in (0.2, 0.6, 0.8, 0.95)
            if (s, x) != ("mkv", 0.95)
        ],
    )  # a Matroska header cannot show that less than a second is missing
    def test_truncated(self, tmp_path: Path, suffix: str, share: float) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (75, 64, 64, 3), dtype=np.uint8)
        whole = tmp_path / f"whole.{suffix}"
        options = {"movflags": "+faststart"} if suffix == "fast.mp4" else {}
        with av.open(str(whole), "w", options=options) as container:
            stream = container.add_stream("libx264", rate=10)
            stream.height = stream.width = 64
            stream.pix_fmt = "yuv420p"
            for image in rgb:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        read_clip(whole)
        data = whole.read_bytes()
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: int(len(data) * share)])
        self.check(cut, "truncated")

    def test_truncated_between_two_packets(self, tmp_path: Path) -> None:
        encode(tmp_path / "whole.mp4", numbered(40), [40 * k for k in range(40)], BFRAMES)
        with av.open(str(tmp_path / "whole.mp4")) as source:
            stream = source.streams.video[0]
            with av.open(str(tmp_path / "fast.mp4"), "w", options={"movflags": "+faststart"}) as target:
                copy = target.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.stream = copy
                        target.mux(packet)
        with av.open(str(tmp_path / "fast.mp4")) as container:
            starts = sorted(p.pos for p in container.demux(video=0) if p.size)
        (tmp_path / "cut.mp4").write_bytes((tmp_path / "fast.mp4").read_bytes()[: starts[25]])
        self.check(tmp_path / "cut.mp4", "truncated")

    def test_truncated_avi(self, tmp_path: Path, shared_data: Path) -> None:
        data = (shared_data / "real" / "video" / "llamafactory_2.avi").read_bytes()
        (tmp_path / "cut.avi").write_bytes(data[: len(data) * 6 // 10])
        self.check(tmp_path / "cut.avi", "truncated")

    def test_more_than_memory_allows(
        self, monkeypatch: pytest.MonkeyPatch, variable: tuple[Path, np.ndarray]
    ) -> None:
        # one frame of 32 × 48 × 3 = 4,608 bytes; two frames are one byte too many
        monkeypatch.setattr(clip_module, "MAX_BYTES", 9215)
        assert len(read_clip(variable[0], frames=1).rgb_THWC) == 1
        with pytest.raises(ClipError, match="fewer or smaller"):
            read_clip(variable[0], frames=2)

    def test_error_crosses_processes(self) -> None:
        error = pickle.loads(pickle.dumps(ClipError("a.mp4", "is empty")))
        assert (error.path, error.reason) == ("a.mp4", "is empty")
        assert isinstance(error, ValueError)

    @pytest.mark.parametrize("bad", [{"frames": 0}, {"fps": 0.0}, {"fps": float("nan")}, {"size": (0, 4)}])
    def test_arguments(self, tmp_path: Path, bad: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=next(iter(bad))):
            read_clip(tmp_path / "none.mp4", **bad)  # type: ignore[arg-type]


def test_size_is_that_of_the_processors(shared_data: Path, tmp_path: Path) -> None:
    from tolman.video.resize import resize

    path = tmp_path / "copy.mp4"
    shutil.copy(shared_data / "real" / "video" / "vggt_room.mp4", path)
    small = read_clip(path, frames=3, size=(112, 140)).rgb_THWC
    np.testing.assert_array_equal(small, resize(read_clip(path, frames=3).rgb_THWC, (112, 140)))
