"""Hostile and damaged video files: frames or a named error, whatever the file says."""

from __future__ import annotations

import random
import resource
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from fuzz_video import KINDS, damaged, outcome
from tolman.video import table
from tolman.video.cache import ClipCache
from tolman.video.clip import read_clip
from tolman.video.encode import write_clip
from tolman.video.errors import ClipError
from tolman.video.isolation import IsolatedReader

FRAMES = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), np.uint8).repeat(16, 1).repeat(16, 2)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_clip(path, FRAMES, 4)
    return path


@pytest.fixture(scope="module")
def shared_reader() -> Iterator[IsolatedReader]:
    reader = IsolatedReader(memory_mb=1024)
    yield reader
    reader.close()


def encode(path: Path, rgb: np.ndarray, codec: str, pix_fmt: str, pts: list[int]) -> Path:
    """Encode with time stamps in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *rgb.shape[1:3], pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, stamp in zip(rgb, pts, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def png(path: Path, width: int, height: int) -> Path:
    """A black picture at one bit a pixel: 8000 × 8000 of them are some kilobytes."""
    rows = zlib.compress(bytes((1 + -(-width // 8)) * height), 1)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in chunks
        )
    )
    return path


class TestDamagedFiles:
    @pytest.mark.parametrize("seed", range(3))
    def test_copies_of_our_own(
        self, clip: Path, tmp_path: Path, shared_reader: IsolatedReader, seed: int
    ) -> None:
        self.check(clip, tmp_path, shared_reader, seed, count=10)

    @pytest.mark.parametrize("name", ["llamafactory_2.avi", "llamafactory_3.mp4", "vggt_room.mp4"])
    def test_copies_of_real_clips(
        self, shared_data: Path, tmp_path: Path, shared_reader: IsolatedReader, name: str
    ) -> None:
        self.check(shared_data / "real" / "video" / name, tmp_path, shared_reader, seed=7, count=12)

    def check(self, source: Path, folder: Path, reader: IsolatedReader, seed: int, count: int) -> None:
        """`outcome` lets nothing but a ClipError pass."""
        data = source.read_bytes()
        for number in range(count):
            kind, copy = damaged(data, random.Random(f"{seed} {number}"))
            path = folder / f"{number}{source.suffix}"
            path.write_bytes(copy)
            assert outcome(reader, path) in ("frames", "error"), (kind, number)

    def test_damage_is_a_pure_function_of_its_seed(self, clip: Path) -> None:
        data = clip.read_bytes()
        copies = [damaged(data, random.Random(k)) for k in range(40)]
        assert copies == [damaged(data, random.Random(k)) for k in range(40)]
        assert {kind for kind, _ in copies} == set(KINDS)
        assert sum(copy == data for _, copy in copies) <= 4


class TestOddFiles:
    def test_ten_bits(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "deep.mkv", FRAMES, "ffv1", "yuv420p10le", [40 * k for k in range(12)])
        assert np.abs(read_clip(path, frames=3).rgb_THWC[0].astype(int) - FRAMES[0]).mean() < 12

    def test_odd_edges(self, tmp_path: Path) -> None:
        odd = FRAMES[:, :33, :17]
        path = encode(tmp_path / "odd.mkv", odd, "ffv1", "yuv444p", [40 * k for k in range(12)])
        assert read_clip(path, frames=2).rgb_THWC.shape == (2, 33, 17, 3)

    def test_an_hour(self, tmp_path: Path) -> None:
        stamps = [10_000 * k for k in range(361)]
        path = encode(tmp_path / "hour.mkv", FRAMES[[0] * 361, :16, :16], "mpeg4", "yuv420p", stamps)
        assert read_clip(path, frames=3).times_T.tolist() == [0.0, 1800.0, 3600.0]

    @pytest.mark.parametrize("name", ["clip.avi", "clip.txt", "clip", "clip%03d.mp4", "http:clip.mp4", "-"])
    def test_names_say_nothing(
        self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        (tmp_path / name).write_bytes(clip.read_bytes())
        monkeypatch.chdir(tmp_path)
        assert len(read_clip(name, frames=3).rgb_THWC) == 3

    def test_a_text_that_is_no_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "named.avi"
        with av.open(str(path), "w") as container:
            container.metadata["title"] = "Zimmer"
            stream = container.add_stream("mpeg4", rate=4)
            stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
            for image in FRAMES[:2]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        data = path.read_bytes()
        assert b"Zimmer" in data
        path.write_bytes(data.replace(b"Zimmer", b"\xff\xfe\xe4\xf6\xfc!"))
        assert len(read_clip(path).rgb_THWC) == 2

    def test_absurd_time_stamps(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "far.mkv", FRAMES[:3], "mpeg4", "yuv420p", [0, 40, 2_000_000_000])
        with pytest.raises(ClipError, match="frames are 2000000 s apart"):
            read_clip(path, frames=2)

    def test_absurd_durations(self) -> None:
        assert table._tagged_seconds("00:01:02.5") == 62.5
        assert table._tagged_seconds("9" * 400 + ":0:0.5") == 0.0

    def test_an_unknown_codec(self, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "u.mp4").write_bytes(clip.read_bytes().replace(b"avc1", b"zzzz"))
        with pytest.raises(ClipError, match="no decoder here knows"):
            read_clip(tmp_path / "u.mp4")

    def test_frames_beyond_the_limit_are_refused(
        self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(ClipError, match="frames of more than 67108864 pixels"):
            read_clip(png(tmp_path / "bomb.png", 10_000, 10_000))
        monkeypatch.setattr(table, "MAX_PIXELS", 4095)
        with pytest.raises(ClipError, match="frames of 64x64 pixels; 4095 in all are the most"):
            read_clip(clip)

    @pytest.mark.parametrize("name", ["a\0b.mp4", "a" * 5000, "\ud800.mp4"])
    @pytest.mark.parametrize("read", [read_clip, lambda path: ClipCache().read(path)])
    def test_names_that_no_file_can_have(
        self, tmp_path: Path, name: str, read: Callable[[Path], object]
    ) -> None:
        with pytest.raises(ClipError):
            read(tmp_path / name)

    def test_too_many_frames(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(table, "MAX_FRAMES", 11)
        with pytest.raises(ClipError, match="more than 11 frames"):
            read_clip(clip, frames=1)


PLAYLISTS: dict[str, Callable[[Path], str]] = {
    "hls": lambda clip: f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{clip.name}\n#EXT-X-ENDLIST\n",
    "concat": lambda clip: f"ffconcat version 1.0\nfile {clip.name}\n",
    "sdp": lambda clip: "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".sdp"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_file_that_names_others_opens_none(clip: Path, kind: str, suffix: str) -> None:
    path = clip.with_name(f"list{suffix}")
    path.write_text(PLAYLISTS[kind](clip))
    with pytest.raises(ClipError, match=r"not a video|not read here"):
        read_clip(path, frames=1)


class TestIsolation:
    @pytest.mark.parametrize(
        "options",
        [{}, {"frames": 5}, {"fps": 1.0}, {"frames": 2, "size": (28, 42)}, {"frames": 3, "rule": "middle"}],
    )
    def test_the_same_clip(
        self, clip: Path, shared_reader: IsolatedReader, options: dict[str, object]
    ) -> None:
        there, here = shared_reader.read(clip, **options), read_clip(clip, **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(there.rgb_THWC, here.rgb_THWC)
        np.testing.assert_array_equal(there.times_T, here.times_T)
        assert there.path == here.path

    def test_the_same_errors(self, tmp_path: Path, shared_reader: IsolatedReader) -> None:
        (tmp_path / "t.mp4").write_text("no video\n" * 99)
        for path in (tmp_path / "t.mp4", tmp_path / "none.mp4", tmp_path):
            reasons = []
            for read in (read_clip, shared_reader.read):
                with pytest.raises(ClipError) as caught:
                    read(path)
                assert caught.value.path == str(path)
                reasons.append(caught.value.reason)
            assert reasons[0] == reasons[1]
        with pytest.raises(ValueError, match="frames must be at least 1"):
            shared_reader.read(tmp_path, frames=0)

    def test_the_cache_reads_through_it(self, clip: Path) -> None:
        cache = ClipCache(isolate=True)
        np.testing.assert_array_equal(cache.read(clip, 3).rgb_THWC, read_clip(clip, 3).rgb_THWC)
        reader = cache._read.__self__  # type: ignore[attr-defined]
        assert isinstance(reader, IsolatedReader)
        assert reader._process is not None

    def test_limits_and_surroundings_of_the_worker(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOME_API_KEY", "secret")
        reader = IsolatedReader(memory_mb=900, seconds=30)
        reader.read(clip, 1)
        assert reader._process is not None
        pid = reader._process.pid
        assert resource.prlimit(pid, resource.RLIMIT_AS)[0] == 900 << 20
        assert 30 <= resource.prlimit(pid, resource.RLIMIT_CPU)[0] < 90
        assert resource.prlimit(pid, resource.RLIMIT_FSIZE)[0] == 0
        assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
        process = reader._process
        del reader
        assert process.poll() is not None  # nobody wants it any more

    def test_a_frame_that_fills_memory(self, tmp_path: Path) -> None:
        path = png(tmp_path / "large.png", 8000, 8000)  # 192 MB as RGB
        small = IsolatedReader(memory_mb=300)
        with pytest.raises(ClipError, match=r"memory"):
            small.read(path)
        small.close()

    def test_a_decoder_that_dies_takes_only_its_clip(
        self, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reader = IsolatedReader(wall_seconds=60)
        for number, said in ((signal.SIGSEGV, "ended with SIGSEGV"), (signal.SIGXCPU, "60 s of processor")):
            process = reader._running()
            process.send_signal(number)
            process.wait()
            with monkeypatch.context() as patch:
                patch.setattr(reader, "_running", lambda process=process: process)
                with pytest.raises(ClipError, match=rf"cannot be decoded: the decoder .*{said}"):
                    reader.read(clip, 1)
        assert len(reader.read(clip, 1).rgb_THWC) == 1

    def test_a_decoder_that_hangs(self, clip: Path) -> None:
        reader = IsolatedReader(wall_seconds=0.3)
        process = reader._running()
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(ClipError, match=r"gave no answer within 0\.3 s"):
            reader.read(clip, 1)
        assert process.poll() == -signal.SIGKILL

    @pytest.mark.parametrize(
        "answer",
        [
            "not JSON",
            '{"times": 0}',
            '{"done": true}',
            '{"place": 0, "height": 1, "width": 1}',  # before there are any places
            '{"error": 5}',
            "[" * 5000,
            "x" * 20_000,
        ],
    )
    def test_a_decoder_that_talks_nonsense(
        self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
    ) -> None:
        (tmp_path / "answer").write_bytes(struct.pack(">I", len(answer)) + answer.encode())
        command = f"cat '{tmp_path / 'answer'}'; exec sleep 60"
        process = subprocess.Popen(["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        reader = IsolatedReader()
        monkeypatch.setattr(reader, "_running", lambda: process)
        with pytest.raises(ClipError, match="gave an answer that makes no sense"):
            reader.read(clip, 1)
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()

    def test_a_worker_that_cannot_start_is_no_fault_of_the_clip(
        self, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(RuntimeError, match="no process for decoding clips can be started"):
            IsolatedReader().read(clip)

    def test_limits_are_positive(self) -> None:
        with pytest.raises(ValueError, match="limits must be positive, got 0 MiB"):
            IsolatedReader(memory_mb=0)
