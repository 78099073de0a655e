"""Features of a frozen tower: computed once a clip, for exactly that clip, sampling and tower."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from learn_world import rl_table, tiny_policy, write_dataset
from tolman.learn import encoder as module
from tolman.learn.clips import ClipStore
from tolman.learn.corpus import load_corpus
from tolman.learn.encoder import ClipEncoder, tower_digest
from tolman.learn.optim import choose_trained
from tolman.learn.recipe import parse_recipe
from tolman.learn.rl import Rl
from tolman.policy.forward import clip_features
from tolman.policy.policy import Policy
from tolman.policy.prompt import encode_clip
from tolman.video.errors import ClipError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), clips=3, questions=1)


@pytest.fixture
def frozen() -> Policy:
    policy = tiny_policy()
    choose_trained(policy.model, "text")
    return policy


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever the encoder runs the tower."""
    calls: list[int] = []

    def counted(model: Any, clips: Any) -> list[torch.Tensor]:
        calls.append(len(clips))
        return clip_features(model, clips)

    monkeypatch.setattr(module, "clip_features", counted)
    return calls


def make(policy: Policy, limit_bytes: int = 1 << 20, frames: int = 4) -> ClipEncoder:
    return ClipEncoder(policy, ClipStore(frames, policy.frame_size, 1 << 20), limit_bytes)


def test_a_learning_tower_gets_pixels(data: Path, seen: list[int]) -> None:
    policy = tiny_policy()
    clip = make(policy).read(data / "clips" / "0.mp4")
    assert clip.features is None
    assert make(policy).see(clip) is clip
    assert len(clip.pixels) == 2 * (56 // policy.patch_spec.patch) ** 2  # 4 frames by pairs, 56 pixels a side
    assert seen == []


def test_a_frozen_tower_sees_a_clip_once(data: Path, frozen: Policy, seen: list[int]) -> None:
    encoder = make(frozen)
    file = data / "clips" / "0.mp4"
    clip = encoder.read(file)
    frames = encoder.store.get(file)
    with torch.no_grad():
        [wanted] = clip_features(frozen.model, [encode_clip(frozen, frames.rgb_THWC, frames.times_T)])
    assert clip.features is not None
    assert torch.equal(clip.features, wanted)
    assert not clip.features.requires_grad
    assert len(clip.pixels) == 0
    misses = encoder.store.cache.misses + encoder.store.cache.hits
    assert encoder.read(file) is clip
    assert encoder.store.cache.misses + encoder.store.cache.hits == misses  # not even decoded
    assert seen == [1]


def test_file_sampling_and_weights_are_part_of_the_key(
    data: Path, frozen: Policy, seen: list[int], tmp_path: Path
) -> None:
    file = tmp_path / "clip.mp4"
    file.write_bytes((data / "clips" / "0.mp4").read_bytes())
    encoder = make(frozen)
    first = encoder.read(file)
    stat = file.stat()
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert encoder.read(file) is not first
    encoder.store.frames = 2
    assert encoder.read(file).grid_thw[0] == 1
    before = encoder.read(file)
    with torch.no_grad():
        next(frozen.model.model.visual.parameters()).mul_(2)
    after = encoder.read(file)
    assert len(seen) == 4
    assert before.features is not None
    assert after.features is not None
    assert not torch.equal(before.features, after.features)
    with pytest.raises(ClipError, match="does not exist"):
        encoder.read(tmp_path / "none.mp4")


def test_the_digest_is_of_the_weights_and_not_of_the_objects(frozen: Policy) -> None:
    assert tower_digest(frozen) == tower_digest(tiny_policy())
    assert tower_digest(frozen) != tower_digest(tiny_policy(1))
    frozen.frame_size = (28, 28)
    assert tower_digest(frozen) != tower_digest(tiny_policy())


def test_the_least_recently_used_features_go_first(data: Path, frozen: Policy, seen: list[int]) -> None:
    files = [data / "clips" / f"{k}.mp4" for k in range(3)]
    size = 8 * 64 * 4  # 2 x 2 x 2 tokens of 64 float32
    encoder = make(frozen, limit_bytes=2 * size)
    for k in (0, 1, 0, 2):  # the third clip pushes out the second
        encoder.read(files[k])
    assert encoder.held_bytes == 2 * size
    assert len(seen) == 3
    encoder.read(files[0])
    assert len(seen) == 3
    encoder.read(files[1])
    assert len(seen) == 4
    nothing = make(frozen, limit_bytes=size - 1)
    assert nothing.read(files[0]).features is not None
    assert nothing.held_bytes == 0


def test_rollout_policy_and_reference_share_one_pass_of_the_tower(
    data: Path, frozen: Policy, tmp_path: Path
) -> None:
    passes = []
    frozen.model.model.visual.register_forward_hook(lambda *_: passes.append(1))
    recipe = parse_recipe(
        rl_table(data, tmp_path)
        | {"batch": {"clips": 2}, "model": {"path": "unused", "template": "map", "train": "text"}}
    )
    objective = Rl(recipe, frozen, load_corpus(recipe.data))
    assert objective.reference is not None
    objective.reference.policy.model.model.visual.register_forward_hook(lambda *_: passes.append(1))
    for step in range(3):
        for part in objective.batch(step).parts:
            objective.loss(part).loss.backward()
    assert len(passes) == 3  # of the three clips there are
