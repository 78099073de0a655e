"""vLLM's offline engine (`vllm.LLM.chat`), which batches by itself and keeps the clip's prefix in its cache.

vLLM is not a dependency of this project. `checks/vllm_text.py` runs this with vLLM itself on a CPU, with a
text model; frames have not been tried there, nor a GPU.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tolman.bench.backends.backend import Reply, Request
from tolman.bench.backends.images import clip_parts, message
from tolman.bench.frames import Sampling


class VllmEngine:
    """Answers with a model that vLLM loads; frames are given as images, exactly those that are shown.

    model: a folder or a Hub id. frames: most images that a question may have. sampling: how clips are sampled
    where nobody says otherwise. dtype: of the weights, in vLLM's words; `auto` is the checkpoint's, and half
    precision for float32. eager: neither compile nor capture graphs. Raises ValueError where vLLM is not
    installed.
    """

    def __init__(
        self, model: str, sampling: Sampling, frames: int, *, dtype: str = "auto", eager: bool = False
    ) -> None:
        try:
            vllm: Any = importlib.import_module("vllm")
        except ImportError as error:
            raise ValueError(
                f"vLLM cannot be imported ({error}); install it (pip install vllm, on a machine with a GPU), "
                "or serve the model elsewhere and name its address with --server"
            ) from error
        self.name = model
        self.sampling = sampling
        self._sampling_params = vllm.SamplingParams
        self._llm = vllm.LLM(
            model=model,
            dtype=dtype,
            load_format="safetensors",  # by itself it would take pickles where there are none
            trust_remote_code=False,
            enforce_eager=eager,
            limit_mm_per_prompt={"image": frames},
            enable_prefix_caching=True,
            seed=0,
        )

    def replies(
        self, batches: Iterable[Sequence[Request]], max_new_tokens: int
    ) -> Iterator[tuple[Request, Reply]]:
        """A batch's replies, together."""
        for batch in batches:
            began = time.perf_counter()
            parts = {shown: clip_parts(shown, "images") for shown in {one.shown for one in batch} if shown}
            turns = [[message(parts[one.shown] if one.shown else [], one.text)] for one in batch]
            greedy = self._sampling_params(temperature=0.0, max_tokens=max_new_tokens)
            outputs = self._llm.chat(turns, greedy, use_tqdm=False)
            seconds = (time.perf_counter() - began) / len(batch)
            for request, output in zip(batch, outputs, strict=True):
                answer = output.outputs[0]
                yield (
                    request,
                    Reply(answer.text, len(answer.token_ids), answer.finish_reason == "stop", seconds),
                )
