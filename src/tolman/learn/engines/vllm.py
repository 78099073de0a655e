"""vLLM in the learner's process samples the completions; it takes the learner's weights before every step.

vLLM's offline engine (`vllm.LLM`) runs here without a process of its own, so that weights are handed over as
tensors and nothing of a step depends on another process. A clip goes in as the learner's vision tower sees it
(embeddings, not pixels), computed once for all questions about it. vLLM gives every completion a generator of
its own, seeded from the step's random numbers: the same recipe, step and weights give the same completions on
the same machine, though not those that the learner's own process would sample.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tolman.learn.engines.options import VllmOptions
from tolman.learn.processes import current
from tolman.learn.sections import Recipe, Selection
from tolman.policy.adapters import merged_weights
from tolman.policy.forward import clip_features
from tolman.policy.generate import Sample
from tolman.policy.load import save_policy
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt
from tolman.policy.sampling import Sampling
from tolman.policy.tree import TokenTree, pack

COLDEST, HOTTEST = 0.01, 2.0
"""Temperatures that vLLM takes as they are; it moves lower ones up and refuses higher ones."""

Named = Callable[[Policy], Mapping[str, Tensor]]


class VllmEngine:
    """vLLM beside the learner; see `Engine`.

    llm: of `load_llm`. named: a policy's weights under the names that they have in the checkpoint that `llm`
    was made for. `sample` raises ValueError for prompts that vLLM cannot be given (`vllm_prompts`) or that
    leave too little room for a completion, and for temperatures out of bounds.
    """

    def __init__(self, llm: Any, named: Named) -> None:
        self.llm, self.named = llm, named
        self.policy: Policy | None = None

    def sync(self, policy: Policy, step: int) -> None:
        """As `Engine`. What vLLM has stored of earlier weights (keys, values, clips) is thrown away."""
        weights = iter(self.named(policy).items())
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not let go of the keys and values of earlier weights")
        self.llm.llm_engine.reset_encoder_cache()
        self.policy = policy

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt], group: int, sampling: Sampling, uniforms: Tensor
    ) -> list[list[Sample]]:
        """As `Engine`."""
        assert self.policy is not None, "vLLM has no weights before the first sync"
        policy, tokens = self.policy, uniforms.shape[1]
        check_temperature(sampling.temperature)
        self._check_room(prompts, tokens)
        greedy = sampling.temperature == 0  # one completion then is all of the group
        fixed = sampling_settings(policy, sampling, tokens) | {"n": 1 if greedy else group}
        params = importlib.import_module("vllm").SamplingParams
        asked = [params(**fixed, seed=seed) for seed in prompt_seeds(uniforms, group)]
        with _own_random_state():
            outputs = self.llm.generate(vllm_prompts(policy, prompts), asked, use_tqdm=False)
        found = []
        for prompt, output in zip(prompts, outputs, strict=True):
            samples = to_samples(policy, prompt, output.outputs, sampling)
            found.append(samples * group if greedy else samples)
        return found

    def _check_room(self, prompts: Sequence[Prompt], tokens: int) -> None:
        """Raise ValueError where a completion could not have all its tokens; vLLM would cut it short."""
        room = self.llm.model_config.max_model_len
        longest = max((len(prompt.clip_ids) + len(prompt.question_ids) for prompt in prompts), default=0)
        if longest + tokens > room:
            raise ValueError(
                f"a prompt has {longest} tokens and a completion up to {tokens}, but vLLM was given room for "
                f"{room}; raise engine.options.length"
            )

    def close(self) -> None:
        """As `Engine`."""
        if self.llm is None:
            return
        self.llm.llm_engine.engine_core.shutdown()
        self.llm = None
        importlib.import_module("vllm.distributed").cleanup_dist_env_and_memory()


def checkpoint_weights(policy: Policy) -> dict[str, Tensor]:
    """All weights under the names of the policy's own checkpoint, adapters merged."""
    return merged_weights(policy.model, policy.model.state_dict())


def check_temperature(temperature: float) -> None:
    """Raise ValueError for what vLLM would not sample with."""
    if temperature and not COLDEST <= temperature <= HOTTEST:
        raise ValueError(
            f"sampling.temperature is {temperature:g}; vLLM samples with {COLDEST:g} to {HOTTEST:g}, or "
            "greedily"
        )


def sampling_settings(policy: Policy, sampling: Sampling, tokens: int) -> dict[str, Any]:
    """What `vllm.SamplingParams` is told for all prompts: the policy's own stop tokens end a completion, and
    nothing but the log-probabilities of the sampled tokens comes back."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": tokens,
        "stop_token_ids": list(policy.stop_ids),
        "ignore_eos": True,
        "logprobs": 0,
        "detokenize": False,
    }


def prompt_seeds(uniforms: Tensor, group: int) -> list[int]:
    """One seed of 53 bits for each prompt, from the first random number of its first row; vLLM adds g for
    completion g."""
    seeds: list[int] = (uniforms[::group, 0] * 2**53).long().tolist()
    return seeds


def vllm_prompts(policy: Policy, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    """Prompts as `vllm.LLM.generate` takes them: token ids, and beside them the clip's embeddings.

    vLLM expands one placeholder into as many as a clip has embeddings, so a clip's run of them shrinks to
    one. Raises ValueError for several images in a prompt, and for a clip where the policy reads the times of
    grid steps in words (Qwen3-VL), which vLLM would write anew.
    """
    shown: dict[int, dict[str, Tensor]] = {}
    found: list[dict[str, Any]] = []
    for prompt in prompts:
        ids = [*prompt.clip_ids, *prompt.question_ids]
        if prompt.clip is None:
            found.append({"prompt_token_ids": ids})
            continue
        if prompt.earlier:
            raise ValueError("a prompt shows several images; vLLM is given one clip at most")
        key = id(prompt.clip)
        if key not in shown:
            shown[key] = _embedded(policy, prompt)
        first = ids.index(policy.video_tokens.video_token_id)
        ids[first : first + len(shown[key]["video_embeds"])] = ids[first : first + 1]
        found.append({"prompt_token_ids": ids, "multi_modal_data": {"video": shown[key]}})
    return found


def _embedded(policy: Policy, prompt: Prompt) -> dict[str, Tensor]:
    assert prompt.clip is not None
    if policy.video_tokens.tokens_per_second is None:
        raise ValueError(
            f"policy {policy.name!r} reads the times of a clip's frames in words (Qwen3-VL); with clips vLLM "
            "samples for Qwen2.5-VL only"
        )
    [features] = clip_features(policy.model, [prompt.clip])
    return {
        "video_embeds": features.detach(),
        "video_grid_thw": prompt.clip.grid_thw[None],
        "second_per_grid_ts": torch.tensor([prompt.clip.seconds_per_grid]),
    }


def to_samples(policy: Policy, prompt: Prompt, outputs: Sequence[Any], sampling: Sampling) -> list[Sample]:
    """vLLM's completions of one prompt (`vllm.CompletionOutput`).

    Log-probabilities before top-k and top-p, which vLLM does not give beside those after, are the learner's
    own, from one forward pass over the prompt and its completions.
    """
    ids = [tuple(output.token_ids) for output in outputs]
    texts = policy.tokenizer.batch_decode(ids, skip_special_tokens=True)
    full: list[Tensor] | list[None] = [None] * len(ids)
    if sampling.truncates:
        full = full_log_probs(policy, prompt, ids, sampling.temperature)
    return [
        Sample(tokens, text, _log_probs(output, sampling), output.finish_reason == "stop", before)
        for tokens, text, output, before in zip(ids, texts, outputs, full, strict=True)
    ]


def _log_probs(output: Any, sampling: Sampling) -> Tensor:
    """(T,) of the sampled tokens; greedy ones are drawn from a point mass."""
    if sampling.temperature == 0:
        return torch.zeros(len(output.token_ids))
    steps = zip(output.token_ids, output.logprobs, strict=True)
    return torch.tensor([step[token].logprob for token, step in steps])


@torch.no_grad()
def full_log_probs(
    policy: Policy, prompt: Prompt, completions: Sequence[Sequence[int]], temperature: float
) -> list[Tensor]:
    """(T,) of each completion's tokens by the policy itself, with nothing taken away."""
    tree = TokenTree()
    _, question = prompt.add_to(tree)
    nodes = [(0, tree.add(completion, question)) for completion in completions]
    packed = pack([tree], policy.pad_id, policy.video_tokens).to(policy.device)
    return [found.cpu() for found in tree_log_probs(policy.model, packed, nodes, temperature)]


def load_llm(folder: Path, dtype: str, options: VllmOptions) -> Any:
    """`vllm.LLM` in this process for the checkpoint in `folder`, of which it reads everything but the
    weights: those come with the first `sync`. Raises ValueError where vLLM is not installed.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # read where the engine is made
    try:
        vllm: Any = importlib.import_module("vllm")
    except ImportError as error:
        raise ValueError(
            f"vLLM cannot be imported ({error}); install it (pip install vllm, on a machine with a GPU), or "
            "leave [engine] out of the recipe: the learner's own process samples then"
        ) from error
    with _own_random_state():
        return vllm.LLM(
            model=str(folder),
            dtype=dtype,
            load_format="dummy",
            seed=0,
            gpu_memory_utilization=options.memory,
            max_model_len=options.length or None,
            enforce_eager=options.eager,
            enable_prefix_caching=True,
            # a prompt read in pieces takes back random numbers, which a CPU's generator cannot
            enable_chunked_prefill=torch.cuda.is_available(),
            limit_mm_per_prompt={"video": 0, "image": 0},  # embeddings alone: it loads no vision tower
            enable_mm_embeds=True,
            generation_config="vllm",
            logprobs_mode="processed_logprobs",
        )


@contextmanager
def _own_random_state() -> Iterator[None]:
    """What vLLM seeds and draws in this process is not what the learner draws from."""
    with torch.random.fork_rng():
        yield


def make_vllm(recipe: Recipe | Selection, policy: Policy, options: VllmOptions) -> VllmEngine:
    """The factory that the registry names.

    Raises ValueError for a learner of several processes or on another GPU than the first, for a temperature
    out of bounds, and as `load_llm`.
    """
    if current().size > 1:
        raise ValueError(
            f"engine.name is 'vllm', but {current().size} processes learn; vLLM serves the one that it runs "
            "in: start it without torchrun, or write 'in_process'"
        )
    if torch.device(recipe.run.device).index:
        raise ValueError(
            f"run.device is {recipe.run.device!r}, but vLLM takes the first GPU that it sees; write 'cuda' "
            "and choose the GPU with CUDA_VISIBLE_DEVICES"
        )
    assert recipe.sampling is not None
    check_temperature(recipe.sampling.temperature)
    with tempfile.TemporaryDirectory() as folder:
        save_policy(policy, Path(folder) / "policy", state={})  # weights come with the first sync
        llm = load_llm(Path(folder) / "policy", recipe.model.dtype, options)
    return VllmEngine(llm, checkpoint_weights)
