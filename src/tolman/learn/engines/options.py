"""Options of single engines, as [engine.options] holds them. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from tolman.learn.config import knob


@dataclass(frozen=True)
class NoOptions:
    """The engine has none."""


@dataclass(frozen=True)
class RayOptions:
    """Of `ray`."""

    address: str = knob("auto")
    """The cluster's, as `ray.init` takes it: `auto`, `HOST:PORT`, `ray://…`."""
    workers: int = knob(0, low=0)
    """Rollout workers of the run; 0: one for each GPU where `gpus` is above 0, else one for each node."""
    cpus: int = knob(1, low=1)
    """CPU cores of each worker, and its threads."""
    gpus: float = knob(0.0, low=0)
    """GPUs of each worker, which then sees those alone; 0: it samples on a CPU."""
    timeout: float = knob(600.0, above=0)
    """Seconds that the learner waits for a step's completions before the run ends with an error; longer than
    a worker needs to start, load the model and sample its share."""
    deaths: int = knob(3, low=0)
    """Workers that may die over one round of completions; each is replaced. One more ends the run."""


@dataclass(frozen=True)
class VllmOptions:
    """Of `vllm`."""

    memory: float = knob(0.4, above=0, high=0.95)
    """Share of the GPU's memory that vLLM takes, for its copy of the weights and its cache, beside the
    learner; on a CPU of the main memory."""
    length: int = knob(0, low=0)
    """Most tokens of a prompt and its completion; 0: as many as the model has positions for."""
    eager: bool = knob(False)
    """Neither compile nor capture graphs: a quicker start, slower completions."""
