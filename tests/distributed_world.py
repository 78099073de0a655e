"""Several processes for the tests: forked from one, connected by gloo, all doing the same jobs one by one.

    python distributed_world.py SIZE FOLDER

reads FOLDER/jobs.json and writes FOLDER/results-RANK.json, what each job came to. What takes time is to
import torch; here it is imported once, for all processes and all jobs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from learn_world import digits, tiny_policy
from tolman.learn import train as training
from tolman.learn.batching import ClipTree, Reader, flat_log_probs, tree_scores_of
from tolman.learn.corpus import draw, load_corpus
from tolman.learn.objective import LossOutput
from tolman.learn.processes import LostProcess, Processes, connect, current
from tolman.learn.recipe import parse_recipe
from tolman.learn.sharding import Shards, whole
from tolman.learn.stages import parse_stages
from tolman.policy.policy import Policy
from tolman.reward.registry import REWARDS

Job = dict[str, Any]
TESTS = Path(__file__).resolve().parent


def launch(folder: Path, size: int, jobs: Sequence[Job], timeout: float = 120.0) -> list[list[Any]]:
    """Do the jobs with `size` processes; per job and rank its value, or `error: …`.

    timeout: the recipes' distributed.timeout. A process that was killed has no results; None stands for them.
    """
    for job in jobs:
        job["table"].setdefault("distributed", {})["timeout"] = timeout
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps({"timeout": timeout, "jobs": list(jobs)}))
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(size), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = []
    for rank in range(size):
        file = folder / f"results-{rank}.json"
        found.append(json.loads(file.read_text()) if file.exists() else [None] * len(jobs))
    assert found[0][0] is not None, done.stderr
    return [list(of_job) for of_job in zip(*found, strict=True)]


def run(job: Job) -> Any:
    """What a job comes to. `kind`: train, bfloat16 (train weights of that type), stages, gradients, or what
    happens to process 1 while it trains.

    `from`: the run folder of another job to go on from, as a kill after its checkpoint of step 2 leaves it.
    """
    kind, table = job.get("kind", "train"), job["table"]
    if kind == "gradients":
        return gradient_error(table, job["trained"])
    if kind == "stages":
        return str(training.train_stages(parse_stages(table)))
    policy = tiny_policy()
    if kind == "bfloat16":
        policy.model.bfloat16()
    if current().rank == 1 and kind in TROUBLE:
        TROUBLE[kind](policy)
    if current().first and "from" in job:
        cut_back(Path(job["from"]), Path(table["run"]["out"]) / table["run"]["name"])
    current().wait()
    return str(training.train(parse_recipe(table), policy=policy, resume="from" in job))


def cut_back(source: Path, target: Path) -> None:
    """Copy a run of four steps and take away what came after the second's checkpoint, but for the rows."""
    shutil.copytree(source, target)
    for name in ("final", "step-00000004"):
        shutil.rmtree(target / "checkpoints" / name)


def in_step_two(trouble: Callable[[], None]) -> Callable[[Policy], None]:
    """Have the process run into trouble in the middle of its second step."""

    def prepare(policy: Policy) -> None:
        real = training._Loop._backward

        def backward(self: Any, parts: Any, passes: int, step: int) -> Any:
            if step == 1:
                trouble()
            return real(self, parts, passes, step)

        training._Loop._backward = backward  # type: ignore[method-assign]

    return prepare


def change_a_weight(policy: Policy) -> None:
    """Another checkpoint than the others have."""
    with torch.no_grad():
        next(policy.model.parameters())[0] += 1e-3


TROUBLE: dict[str, Callable[[Policy], None]] = {
    "dies": in_step_two(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "hangs": in_step_two(lambda: time.sleep(600)),
    "has other weights": change_a_weight,
}


def gradient_error(table: dict[str, Any], trained: str) -> float:
    """Largest difference between gradients of a split policy and those that one process finds for the same
    three clips, over the largest gradient.

    trained: `lora`, adapters of rank 2 in both towers, or part of the name of the weights that learn.
    """
    recipe, policy = parse_recipe(table), tiny_policy()
    if trained == "lora":
        add_lora(policy)
    for name, weight in policy.model.named_parameters():
        weight.requires_grad_(trained in name)
    reader = Reader(recipe, policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tolman.learn.batching.current", Processes)  # all clips, not a share of them
        clips, _ = reader.read(draw(load_corpus(recipe.data).training, 0, 0, 3, 1))
    for clip in clips:
        clip.add_completion(0, reader.text_ids("2 chairs"))

    def loss(part: Sequence[ClipTree]) -> LossOutput:
        return LossOutput(flat_log_probs(tree_scores_of(policy, part)).sum(), {}, 0)

    loss(clips).loss.backward()
    learnt = {name: weight for name, weight in policy.model.named_parameters() if weight.requires_grad}
    expected = {name: weight.grad for name, weight in learnt.items()}
    policy.model.zero_grad(set_to_none=True)
    shards, own = Shards(policy, current().size), [clip for _, clip in current().share(clips)]
    for at in range(2):  # one of two processes has nothing left for the second pass
        work = (lambda at=at: loss([own[at]])) if at < len(own) else shards.nothing
        shards.run(work).loss.backward()
    found = {name: whole(weight.grad) for name, weight in policy.model.named_parameters() if name in expected}
    largest = max(float(grad.abs().max()) for grad in expected.values())
    return max(float((found[name] - grad).abs().max()) for name, grad in expected.items()) / largest


def add_lora(policy: Policy) -> None:
    """Adapters drawn at random: PEFT's start at nothing."""
    import peft

    policy.model.add_adapter(peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "qkv"]))
    draw_numbers = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in policy.model.named_parameters():
            if "lora_" in name:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=draw_numbers))


def work(rank: int, size: int, port: int, folder: Path) -> None:
    """One process's jobs."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(address, RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
    REWARDS["digits"] = lambda: digits
    given = json.loads((folder / "jobs.json").read_text())
    results: list[Any] = []
    with connect("cpu", given["timeout"]):
        for job in given["jobs"]:
            try:
                results.append(run(job))
            except (ValueError, LostProcess) as error:
                results.append(f"{type(error).__name__}: {error}")
    (folder / f"results-{rank}.json").write_text(json.dumps(results))


def main(size: int, folder: Path) -> None:
    """Fork, and end what is left when the first process is done."""
    torch.set_num_threads(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(rank, size, port, folder)
                status = 0
            finally:
                sys.stdout.flush()
                if status:
                    sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
                os._exit(status)
        pids.append(pid)
    os.waitpid(pids[0], 0)
    kinds = {job.get("kind") for job in json.loads((folder / "jobs.json").read_text())["jobs"]}
    for pid in pids[1:]:
        if kinds & {"dies", "hangs"}:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
