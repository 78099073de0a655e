"""A disk that takes no more: the error names the folder, and what was there before is still there."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

import tolman
from learn_world import sft_table, tiny_policy, write_dataset
from policy_tiny import tiny_tokenizer
from tolman.learn.recipe import parse_recipe
from tolman.learn.train import train
from tolman.policy.disk import disk_errors
from tolman.policy.load import load_policy, save_policy

QUOTA = """
import resource, sys
from learn_world import tiny_policy
from tolman.policy.load import save_policy
policy = tiny_policy()
for bytes in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes, resource.RLIM_INFINITY))
    try:
        save_policy(policy, sys.argv[1])
        print("saved")
    except OSError as error:
        print(error.errno, error.strerror, error.filename)
"""


def test_a_quota_that_is_full_is_said_with_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    save_policy(tiny_policy(), folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    places = [str(Path(__file__).parent), str(Path(tolman.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", QUOTA, folder, "500", "20000", "100000000"],  # config.json; weights; enough
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = f"{errno.EFBIG} policy not written (File too large) {folder}"
    assert done.stdout.splitlines() == [said, said, "saved"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["policy"]
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before  # the same policy again


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="no /sys here, where nobody can make a folder")
def test_a_folder_that_nobody_can_write_is_said() -> None:
    with pytest.raises(OSError, match=r"policy not written .*'/sys/kernel/policy'") as caught:
        save_policy(tiny_policy(), "/sys/kernel/policy")
    assert caught.value.errno in (errno.EPERM, errno.EACCES, errno.EROFS)


def test_libraries_that_write_in_rust_say_it_in_their_own_ways(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"x not written \(No space left on device\)") as caught,
        disk_errors("x", tmp_path),
    ):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path))
    with pytest.raises(OSError, match=r"x not written \(.*\)") as caught, disk_errors("x", tmp_path):
        tiny_tokenizer().backend_tokenizer.save(str(tmp_path / "none" / "tokenizer.json"))
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(OSError, match=r"x not written \(header too large\)"), disk_errors("x", tmp_path):
        raise SafetensorError("header too large")


def test_other_faults_stay_what_they_are(tmp_path: Path) -> None:
    for fault in (ValueError("shape (os error 28)"), Exception("no idea"), KeyboardInterrupt()):
        with pytest.raises(type(fault)) as caught, disk_errors("x", tmp_path):
            raise fault
        assert caught.value is fault


def test_a_run_whose_last_write_fails_has_lost_nothing(tmp_path: Path) -> None:
    recipe = parse_recipe(sft_table(write_dataset(tmp_path / "data", clips=2), tmp_path, steps=2))
    final = tmp_path / "tiny" / "checkpoints" / "final"

    def block(row: dict[str, object]) -> None:
        final.mkdir(exist_ok=True)
        (final / "mine.txt").write_text("in the way")

    policy = tiny_policy()
    with pytest.raises(ValueError, match="final exists and is no saved policy"):
        train(recipe, policy=policy, progress=block)
    (final / "mine.txt").unlink()
    train(
        recipe, policy=tiny_policy(), resume=True, progress=lambda row: pytest.fail("a step was made again")
    )
    saved = load_policy(final).model.state_dict()
    assert all((saved[name] == weight).all() for name, weight in policy.model.state_dict().items())
