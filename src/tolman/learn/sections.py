"""The sections of a recipe: one frozen dataclass each, a docstring under each field. No torch.

A recipe names one objective; the sections that objective reads must be there and no others may be, so that
every line of a recipe has an effect.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from tolman.learn.config import knob
from tolman.learn.hardware import HARDWARE
from tolman.learn.registry import ADVANTAGES, BONUSES, ENGINES, LOSSES, NORMALISE, OBJECTIVES, TRACKERS

TRAINABLE = ("all", "text", "vision", "text+merger")
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Of a layer of the language model."""


@dataclass(frozen=True)
class Run:
    """The run as a whole."""

    name: str = knob()
    """Name of the run; its folder is out/name."""
    steps: int = knob(low=1)
    """Optimiser steps of the whole run."""
    out: str = knob("runs")
    """Folder of run folders."""
    seed: int = knob(0, low=0)
    """Everything random follows from it: data order, sampling, initial state of extra heads."""
    max_skipped: float = knob(0.01, low=0, high=1)
    """Share of clips drawn so far that may be unreadable before the run stops."""
    checkpoint_every: int = knob(100, low=1)
    """Steps between checkpoints."""
    keep: int = knob(2, low=1)
    """Checkpoints kept; older ones are removed once a newer one is whole."""
    threads: int = knob(0, low=0)
    """CPU threads torch may use; 0 leaves torch's own choice."""
    device: str = knob("cpu")
    """Torch device of the policy (`cpu`, `cuda`, `cuda:1`)."""
    hardware: str = knob("", choices=("", *HARDWARE))
    """Machine whose published peak `mfu` in metrics.jsonl refers to, as `tolman plan` names it; empty: no
    `mfu`."""
    trackers: tuple[str, ...] = knob((), choices=TRACKERS)
    """Where the rows of metrics.jsonl go as well: `tensorboard` (the run folder's tensorboard/), `wandb`
    (W&B; WANDB_MODE=offline keeps it in the run folder), `trackio`. Each needs the package of its name."""
    project: str = knob("tolman")
    """Project that W&B and trackio file the run under."""


@dataclass(frozen=True)
class Model:
    """The policy."""

    path: str = knob()
    """`starter`, a folder or a model name, as `tolman.policy.load.load_policy` takes it."""
    template: str = knob()
    """Name of the prompt template (`tolman.policy.prompt`); it decides whether a map is asked for."""
    dtype: str = knob("float32", choices=("float32", "bfloat16"))
    """Type the weights are held and trained in; bfloat16 is updated with stochastic rounding."""
    mixed: bool = knob(False)
    """Matrix products of the loss in bfloat16, weights and optimiser in `dtype` (quick where the hardware has
    bfloat16: GPUs, CPUs with AVX512-BF16). Sampling stays in `dtype`; `sampling_gap` in metrics.jsonl says
    how far that is from what the loss sees."""
    train: str = knob("all", choices=TRAINABLE)
    """Which weights learn: everything, the language model, the vision tower, or language model and merger."""
    lora_rank: int = knob(0, low=0)
    """Rank of adapters (LoRA, through PEFT) that learn in place of the language model's matrices; 0: the
    weights themselves learn. Wants train = `text`; everything but the adapters is then frozen."""
    lora_alpha: int = knob(0, low=0)
    """What adapters compute is multiplied by this over their rank; 0: twice the rank."""
    lora_targets: tuple[str, ...] = knob(MATRICES, choices=MATRICES)
    """Matrices of every layer that have adapters."""
    quantise: str = knob("", choices=("", "nf4"))
    """`nf4`: the language model's matrices are held in four bits (QLoRA, through bitsandbytes) under the
    adapters, which lora_rank has to ask for; empty: in `dtype`."""
    gradient_checkpointing: bool = knob(False)
    """Recompute activations in the backward pass: less memory, about a third more time."""


@dataclass(frozen=True)
class Data:
    """Questions and clips."""

    path: str = knob()
    """A folder built by `tolman data build`, or a questions file (.json, .jsonl)."""
    clips: str = knob("")
    """Folder the questions' clip paths are relative to; empty: the folder of the questions."""
    maps: str = knob("")
    """File of true maps for rows that have none, JSON lines of `video_id` (the name of a clip's file without
    its suffix) and `cognitive_map`, as SpaceR publishes it; empty: rows hold their own."""
    families: tuple[str, ...] = knob(())
    """Question types to keep (`object_counting`, …); empty keeps all."""
    problem_types: tuple[str, ...] = knob(())
    """Problem types to keep (`multiple choice`, `numerical`, …); empty keeps all."""
    data_types: tuple[str, ...] = knob(())
    """Data types to keep (`video`, `image`); empty keeps all. An image is a clip of one frame."""
    frames: int = knob(0, low=0)
    """Frames per clip; 0 takes the policy's own."""
    holdout: float = knob(0.0, low=0, high=0.9)
    """Share of clips never trained on, chosen by a hash of their path: the same in every run."""
    easy_first: bool = knob(False)
    """Go through each epoch from easy to hard by the rows' `difficulty` (a selecting stage writes it), clips
    with several questions by its mean; equals in random order."""
    drop_bad_gold: bool = knob(False)
    """Leave out rows whose gold answer does not earn full marks; without it such rows stop the run."""
    cache_mb: int = knob(1024, low=0)
    """Memory for decoded frames (uint8), in MiB."""
    isolate: bool = knob(False)
    """Decode in a process of its own with limits on memory and time: a file that crashes, hangs or fills the
    decoder is a clip that cannot be read, and the run goes on."""
    features_mb: int = knob(1024, low=0)
    """Main memory for what a frozen vision tower (model.train = `text`) made of clips, in MiB; a clip whose
    features are held is neither decoded nor seen again."""


@dataclass(frozen=True)
class Objective:
    """What is minimised."""

    name: str = knob(choices=OBJECTIVES)
    """`sft`: likelihood of gold completions. `rl`: verifiable rewards over sampled groups. Others register.
    """
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the objective itself."""


@dataclass(frozen=True)
class Sampling:
    """How groups are generated."""

    group: int = knob(low=2)
    """Completions per prompt (G)."""
    max_new_tokens: int = knob(low=1)
    """Token budget of a completion."""
    temperature: float = knob(1.0, low=1e-6)
    """Softmax temperature; log-probabilities in the loss use the same."""
    top_p: float = knob(1.0, above=0, high=1)
    """Nucleus: keep the likeliest tokens up to this mass. Below 1, samples come from a truncated distribution
    while the loss sees the full softmax, an approximation that published trainers make too; the metric
    `truncation` says how large it is."""
    top_k: int = knob(0, low=0)
    """Keep this many of the likeliest tokens, before top_p; 0 keeps all. An approximation as in `top_p`."""
    epochs: int = knob(1, low=1)
    """Passes of the optimiser over each sampled batch; above 1 log-probabilities at sampling are stored."""
    minibatches: int = knob(1, low=1)
    """Optimiser steps per pass, each over an equal share of the step's clips (fewer where clips are)."""

    @property
    def updates(self) -> int:
        """Optimiser steps per sampled batch; 1 is strictly on-policy."""
        return self.epochs * self.minibatches


@dataclass(frozen=True)
class Engine:
    """What samples the completions; without this section the learner's own process does."""

    name: str = knob(choices=ENGINES)
    """`in_process`; `ray`: workers spread over the machines of a Ray cluster; `vllm`: vLLM in the learner's
    process."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its own options: see `tolman.learn.engines.options`."""


@dataclass(frozen=True)
class RewardPart:
    """One reward of the sum."""

    name: str = knob()
    """A name from `tolman.reward.registry.REWARDS`."""
    weight: float = knob(1.0)
    """Factor in the sum; 0 only logs the reward."""
    only: dict[str, Any] = field(default_factory=dict)
    """Rows it is for: a field (`problem_type`, …) to the list of its values; others earn 0 from it."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword options of the reward's factory."""


@dataclass(frozen=True)
class Filter:
    """Groups to train on: those without signal are dropped, others drawn in their place (DAPO, arXiv
    2503.14476).

    A group without signal is one whose rewards are all equal, or with `of` one whose mean is out of bounds.
    """

    redraws: int = knob(0, low=0)
    """Times per step that missing groups are drawn from other clips; what is missing then stays missing."""
    of: str = knob("")
    """Reward whose mean (unweighted) must lie within `bounds`; empty: the total must vary in the group."""
    bounds: tuple[float, float] = knob((0.01, 0.99))
    """(low, high), the bounds themselves left out; with `of` only."""


@dataclass(frozen=True)
class Select:
    """What a selecting stage keeps of the questions it has sampled completions for, and as what."""

    of: str = knob()
    """Reward that is looked at, in [0, 1] and unweighted."""
    keep: str = knob("questions", choices=("questions", "answers", "pairs", "verdicts"))
    """`questions`: the rows. `answers`: a right completion of each, to learn as `turns`. `pairs`: a right and
    a wrong one as `chosen` and `rejected`. `verdicts`: a right and a wrong one, each with its `label`."""
    low: float = knob(0.0, low=0, high=1)
    """Least mean over a question's completions."""
    high: float = knob(1.0, low=0, high=1)
    """Greatest mean over a question's completions."""
    spread: float = knob(0.0, low=0)
    """Least standard deviation over a question's completions."""
    solved: float = knob(1.0, low=0, high=1)
    """Share kept of the questions whose every completion earns full marks, chosen by a hash of their id."""
    right: float = knob(1.0, low=0, high=1)
    """What a right completion earns at least."""
    wrong: float = knob(0.0, low=0, high=1)
    """What a wrong completion earns at most."""


@dataclass(frozen=True)
class BonusPart:
    """A bonus that depends on the whole group, added to the rewards."""

    name: str = knob(choices=BONUSES)
    """`temporal` (T-GRPO: shuffled frames must do worse) or `length` (correct and of middling length)."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword options; `of` names the rewards whose sum counts as correctness."""


@dataclass(frozen=True)
class Advantage:
    """From a group's rewards to advantages."""

    name: str = knob(choices=ADVANTAGES)
    """`group_mean_std` (GRPO), `group_mean` (Dr. GRPO), … : see `tolman.learn.registry.ADVANTAGES`."""
    options: dict[str, Any] = field(default_factory=dict)
    """Its fields, e.g. eps."""


@dataclass(frozen=True)
class Loss:
    """The loss over completion tokens."""

    name: str = knob(choices=LOSSES)
    """`nll` for gold completions; `policy_gradient`, `gspo`, `tw_grpo`, `reg_grpo` for sampled ones; `dpo`,
    `kto` for preferred ones."""
    normalise: str = knob(choices=NORMALISE)
    """What a token's term is divided by: all tokens, completions × own length, completions × budget."""
    beta: float = knob(0.0, low=0)
    """Weight of the KL to the initial policy (k3 estimate); in `dpo` and `kto` the factor of log-ratios."""
    clamp: float = knob(0.0, low=0)
    """Bound on log-ratios; 0 for none."""
    clip: tuple[float, float] = knob((0.0, 0.0), low=0)
    """(low, high): ratios pay within [1 - low, 1 + high]; [0, 0]: none. Needs several updates per batch."""
    dual_clip: float = knob(0.0, low=0)
    """With a negative advantage the gain is at least this times the advantage; above 1, 0 for none."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the loss itself."""


@dataclass(frozen=True)
class Optimiser:
    """AdamW and its schedule."""

    lr: float = knob(above=0)
    """Peak learning rate."""
    betas: tuple[float, float] = knob((0.9, 0.999), low=0, high=0.999999)
    """AdamW's decay rates."""
    eps: float = knob(1e-8, above=0)
    """AdamW's epsilon."""
    weight_decay: float = knob(0.0, low=0)
    """Decoupled weight decay of matrices; vectors (norms, biases) are never decayed."""
    warmup: int = knob(0, low=0)
    """Steps of linear warm-up."""
    schedule: str = knob("constant", choices=("constant", "linear", "cosine"))
    """Shape after the warm-up, down to `floor` at the last step."""
    floor: float = knob(0.0, low=0, high=1)
    """Final learning rate as a share of lr (linear and cosine)."""
    max_grad_norm: float = knob(1.0, low=0)
    """Gradients are scaled down to this norm; 0 for no limit."""


@dataclass(frozen=True)
class BatchSize:
    """What one step draws."""

    clips: int = knob(low=1)
    """Clips per step; each is decoded and seen once."""
    questions_per_clip: int = knob(1, low=1)
    """Questions asked of each clip in the same tree (fewer where a clip has fewer)."""
    micro_clips: int = knob(0, low=0)
    """Clips per forward and backward pass; 0 takes all at once. Changes memory, never the gradient."""


@dataclass(frozen=True)
class Distributed:
    """Several processes, started by torchrun; one alone has nobody to wait for and nothing to split."""

    shard: str = knob("none", choices=("none", "full"))
    """`none`: every process holds the whole policy, its gradients and moments. `full`: each holds its share
    of them (FSDP2); less memory, more exchange."""
    timeout: float = knob(600.0, above=0)
    """Seconds that a process waits for the others before the run ends with an error. Longer than sampling,
    reading or a checkpoint may keep one of them."""


@dataclass(frozen=True)
class Recipe:
    """A whole recipe; optional sections are None where the objective does not read them."""

    run: Run
    model: Model
    data: Data
    objective: Objective
    optimiser: Optimiser
    batch: BatchSize
    loss: Loss | None = None
    sampling: Sampling | None = None
    rewards: tuple[RewardPart, ...] = ()
    bonuses: tuple[BonusPart, ...] = ()
    advantage: Advantage | None = None
    filter: Filter | None = None
    engine: Engine | None = None
    distributed: Distributed = Distributed()


@dataclass(frozen=True)
class SelectionRun:
    """The run of a selecting stage, which takes no steps."""

    name: str = knob()
    """Name of the run; its folder is out/name."""
    out: str = knob("runs")
    """Folder of run folders."""
    seed: int = knob(0, low=0)
    """Everything random follows from it."""
    max_skipped: float = knob(0.01, low=0, high=1)
    """Share of clips that may be unreadable before the stage stops."""
    threads: int = knob(0, low=0)
    """CPU threads torch may use; 0 leaves torch's own choice."""
    device: str = knob("cpu")
    """Torch device of the policy."""


@dataclass(frozen=True)
class Selection:
    """A stage that samples, grades and keeps rows for the next one; it trains nothing."""

    run: SelectionRun
    model: Model
    data: Data
    batch: BatchSize
    sampling: Sampling
    rewards: tuple[RewardPart, ...]
    select: Select
    engine: Engine | None = None


NOT_FOR_SELECTIONS: dict[str, tuple[str, ...]] = {
    "run": tuple(sorted({item.name for item in fields(Run)} - {item.name for item in fields(SelectionRun)})),
    "model": (
        "mixed",
        "train",
        "lora_rank",
        "lora_alpha",
        "lora_targets",
        "quantise",
        "gradient_checkpointing",
    ),
    "data": ("easy_first",),
    "batch": ("micro_clips",),
    "sampling": ("epochs", "minibatches"),
}
"""Keys by section that do nothing in a selecting stage: it asks every question once and learns nothing."""
