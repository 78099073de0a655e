"""The loss of a group on one clip: a token tree against the repeated batch of published trainers.

    python perf/loss.py [--size starter|smol|3b|7b] [--frames N] [--device auto] [--json FILE]

Naive: pixels and prompt G times through transformers' stock class, logits of the completions only, gradient
checkpointing for 3b and 7b. Published: the same with the logits of all tokens, of which the prompt's are
thrown away, as the trainers of Video-R1 and SpaceR do (starter and smol only). Tree: clip and prompt
once, no checkpointing; on CUDA also with compiled layers. All forward and backward, with a trained vision
tower and with a frozen one (the naive ways run it in every step all the same). 3b and 7b are Qwen2.5-VL's
configurations with random weights in bfloat16. The same numbers are asked of both first, in float32; for 3b
and 7b with two layers of each tower.

The floor is the arithmetic of the tree's own tokens and visible pairs (a multiplication and an addition are
two), at the matrix product's speed on this machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sizes import SIZES, TEXT, pick_device
from tolman.learn.optim import recompute_activations
from tolman.policy.forward import clip_features
from tolman.policy.load import load_policy
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.tree import ClipInput, Packed, TokenTree, VideoTokens, pack


@dataclass(frozen=True)
class Work:
    """One clip, one question, a group of completions: as a tree, and as a batch for transformers."""

    packed: Packed
    nodes: list[tuple[int, int]]
    prompt: list[int]
    completions: list[list[int]]
    clip: ClipInput
    video_token_id: int

    def naive_inputs(self, device: torch.device) -> dict[str, Any]:
        """Pixels and prompt once for every completion."""
        ids = torch.tensor([self.prompt + completion for completion in self.completions], device=device)
        times = len(self.completions)
        return {
            "input_ids": ids,
            "pixel_values_videos": self.clip.pixels.repeat(times, 1).to(device),
            "video_grid_thw": self.clip.grid_thw.repeat(times, 1).to(device),
            "second_per_grid_ts": torch.tensor([self.clip.seconds_per_grid] * times, device=device),
            "mm_token_type_ids": 2 * (ids == self.video_token_id).long(),
            "logits_to_keep": len(self.completions[0]) + 1,
        }


def main() -> None:
    """Check, measure, print."""
    arguments = read_arguments()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    device = pick_device(arguments.device)
    if arguments.size in TEXT:
        shape = (arguments.frames or 16, 24, 32)
        small = make_qwen(arguments.size, device, torch.float32, layers=2)
        difference = disagreement(small, make_work(small, shape, arguments), published=False)
        del small
        model = make_qwen(arguments.size, device, torch.bfloat16)
    else:
        policy = load_policy(arguments.size, device=device, dtype=torch.float32)
        model = policy.model
        rows, columns = (side // policy.patch_spec.patch for side in policy.frame_size)
        shape = (arguments.frames or policy.frames, rows, columns)
        difference = disagreement(model, make_work(model, shape, arguments), published=True)
    print(f"log-probabilities differ by {difference[0]:.1e}, gradients by {difference[1]:.1e} of their norm")
    if max(difference) > 1e-3:
        raise SystemExit("the two ways do not compute the same; times would mean nothing")
    result = measure(model, make_work(model, shape, arguments), arguments)
    result |= {"log_probs_differ_by": difference[0], "gradients_differ_by": difference[1]}
    result["device"] = str(model.device)
    if arguments.json:
        arguments.json.write_text(json.dumps(vars(arguments) | result, indent=1, default=str) + "\n")


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="starter")
    parser.add_argument("--device", default="auto", help="a torch device; auto: CUDA where there is one")
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=0, help="of a completion; 0: 400 for 3b and 7b, or 100")
    parser.add_argument("--frames", type=int, default=0, help="0: what the policy takes, 16 of 3b and 7b")
    parser.add_argument("--rounds", type=int, default=3, help="timed runs of each way (the median counts)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def make_qwen(size: str, device: torch.device, dtype: torch.dtype, layers: int = 0) -> Any:
    """Qwen2.5-VL's class with random weights, made on the device; layers: of each tower, 0 for all."""
    import transformers

    text: dict[str, Any] = TEXT[size] | {
        "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        "bos_token_id": 151643,
        "eos_token_id": 151645,
    }
    vision: dict[str, Any] = {
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
        "out_hidden_size": text["hidden_size"], "spatial_merge_size": 2, "temporal_patch_size": 2,
        "tokens_per_second": 2, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
    }  # fmt: skip
    if layers:
        text["num_hidden_layers"] = layers
        vision |= {"depth": layers, "fullatt_block_indexes": [layers - 1]}
    config_class: Any = transformers.Qwen2_5_VLConfig
    config = config_class(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=text["tie_word_embeddings"],
        image_token_id=151655,
        video_token_id=151656,
        vision_start_token_id=151652,
        vision_end_token_id=151653,
    )
    model_class: Any = transformers.Qwen2_5_VLForConditionalGeneration
    with torch.device(device):
        return model_class._from_config(config, attn_implementation="sdpa", dtype=dtype)


def make_work(model: Any, shape: tuple[int, int, int], arguments: argparse.Namespace) -> Work:
    """Noise for pixels, random tokens for words, 80 of them for the question. shape: frames, and the rows and
    columns of patches in each.

    Frames are so far apart in time that the clip's last step has the position of its last column: where text
    goes on is the same by all versions' rules.
    """
    draw = torch.Generator().manual_seed(0)
    vision, (frames, rows, columns) = model.config.vision_config, shape
    steps = frames // vision.temporal_patch_size
    patch_values = 3 * vision.temporal_patch_size * vision.patch_size**2
    video = VideoTokens.from_config(model.config)
    assert video.tokens_per_second is not None
    spacing = (columns // video.merge - 1) / max(1, steps - 1) / video.tokens_per_second
    pixels = torch.randn(steps * rows * columns, patch_values, generator=draw)
    clip = ClipInput(pixels.to(model.device), torch.tensor([steps, rows, columns]), spacing)

    def words(count: int) -> list[int]:
        return torch.randint(20, 250, (count,), generator=draw).tolist()

    shown = [video.video_token_id] * (steps * rows * columns // video.merge**2)
    start, end = model.config.vision_start_token_id, model.config.vision_end_token_id
    opening, asked = [start, *shown, end], words(80)
    completions = [
        words(arguments.tokens or (400 if arguments.size in TEXT else 100)) for _ in range(arguments.group)
    ]
    tree = TokenTree()
    question = tree.add(asked, tree.add(opening, clip=clip))
    nodes = [(0, tree.add(completion, question)) for completion in completions]
    packed = pack([tree], 0, video)
    return Work(packed, nodes, opening + asked, completions, clip, video.video_token_id)


def tree_way(model: Any, work: Work, features: Sequence[Tensor] | None = None) -> Tensor:
    """(G * T,) log-probabilities from the tree."""
    return torch.cat(tree_log_probs(model, work.packed, work.nodes, features=features))


def naive_way(model: Any, work: Work, all_logits: bool = False) -> Tensor:
    """The same from the repeated batch. all_logits: those of the prompt as well, for nothing."""
    inputs = work.naive_inputs(model.device)
    if all_logits:
        del inputs["logits_to_keep"]
        rows = zip(model(**inputs).logits[:, :-1], inputs["input_ids"][:, 1:], strict=True)
        found = [logits.log_softmax(-1).gather(-1, ids[:, None])[:, 0] for logits, ids in rows]
        return torch.stack(found)[:, len(work.prompt) - 1 :].flatten()
    logits = model(**inputs).logits[:, :-1]
    targets = torch.tensor(work.completions, device=model.device)
    return -F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")


def disagreement(model: Any, work: Work, published: bool) -> tuple[float, float]:
    """Largest difference of a token's log-probability, and of a weight's gradient relative to its norm.

    published: of that way as well.
    """
    found = []
    model.set_attn_implementation("sdpa")
    for way in (naive_way, *[partial(naive_way, all_logits=True)] * published, tree_way):
        model.zero_grad(set_to_none=True)
        log_probs = way(model, work)
        (log_probs * torch.linspace(-1, 1, len(log_probs), device=log_probs.device)).sum().backward()
        inner = model.model
        weights = [
            inner.language_model.layers[0].self_attn.q_proj.weight,
            inner.visual.patch_embed.proj.weight,
        ]
        found.append((log_probs.detach(), [weight.grad.clone() for weight in weights]))
    model.zero_grad(set_to_none=True)
    theirs, their_gradients = found.pop(0)
    apart = [
        float((one - other).norm() / other.norm())
        for _, gradients in found
        for one, other in zip(gradients, their_gradients, strict=True)
    ]
    return max(float((log_probs - theirs).abs().max()) for log_probs, _ in found), max(apart)


def measure(model: Any, work: Work, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds and peak memory of every way, with both towers; prints and returns them."""
    model.train()
    peak = matmul_peak(model.device, next(model.parameters()).dtype)
    print(f"matrix product: {peak / 1e12:.3g} TFLOP/s")
    found: dict[str, Any] = {"matmul_flops_per_second": peak}
    for tower in ("frozen", "trained"):
        model.model.visual.requires_grad_(tower == "trained")
        with torch.no_grad():
            features = clip_features(model, work.packed.clips) if tower == "frozen" else None
        ways = {
            "naive": lambda: naive_way(model, work),
            "tree": lambda features=features: tree_way(model, work, features),
        }
        if arguments.size not in TEXT:
            ways["published"] = lambda: naive_way(model, work, all_logits=True)
        times = by_turns(model, ways, arguments.rounds, recompute=arguments.size in TEXT)
        if model.device.type == "cuda":
            layers = list(model.model.language_model.layers)
            blocks = list(model.model.visual.blocks) if tower == "trained" else []
            times |= compiled(model, layers + blocks, ways["tree"], arguments.rounds)
        learns = tower == "trained"
        flops, repeated = tree_flops(model, work, learns), naive_flops(model, work, learns)
        found[tower] = report(tower, flops, repeated, peak, times)
    return found


def report(
    tower: str, flops: float, repeated: float, peak: float, times: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Print one tower's times with their ratio to naive and their distance to the floor; returns all that."""
    print(
        f"{tower} tower: floor {flops / 1e12:.3g} TFLOP, {1e3 * flops / peak:.4g} ms; "
        f"the repeated batch has {repeated / flops:.2f} times as many"
    )
    for name, entry in times.items():
        entry["ratio"] = times["naive"]["seconds"] / entry["seconds"]
        published = ""
        if "published" in times:
            entry["published_ratio"] = times["published"]["seconds"] / entry["seconds"]
            published = f"published / this {entry['published_ratio']:5.2f}, "
        entry["share_of_peak"] = flops / peak / entry["seconds"]
        memory = "" if entry["peak_bytes"] is None else f", {entry['peak_bytes'] / 2**30:.3g} GiB"
        print(
            f"  {name:13} {1e3 * entry['seconds']:9.4g} ms, naive / this {entry['ratio']:5.2f}, {published}"
            f"{100 * entry['share_of_peak']:.3g} % of the matrix product's speed{memory}"
        )
    return {"flops": flops, "naive_flops": repeated, "floor_seconds": flops / peak, "ways": times}


def by_turns(
    model: Any, ways: dict[str, Callable[[], Tensor]], rounds: int, recompute: bool
) -> dict[str, dict[str, Any]]:
    """Median seconds of forward and backward and peak bytes of each way; the first round only warms up.

    recompute: gradient checkpointing for the naive way.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, int | None] = {}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            if name in ("naive", "published"):
                model.set_attn_implementation("sdpa")
                if recompute:
                    recompute_activations(model)
            taken, peaks[name] = timed(model, way)
            seconds[name].append(taken)
            if name == "naive" and recompute:
                keep_activations(model)
    return {
        name: {"seconds": statistics.median(taken[1:]), "peak_bytes": peaks[name]}
        for name, taken in seconds.items()
    }


def compiled(
    model: Any, layers: list[Any], way: Callable[[], Tensor], rounds: int
) -> dict[str, dict[str, Any]]:
    """The tree with each of these layers compiled, which is undone again."""
    for layer in layers:
        layer.compile(dynamic=False)
    times = by_turns(model, {"tree compiled": way}, rounds, recompute=False)
    for layer in layers:
        layer._compiled_call_impl = None
    return times


def keep_activations(model: Any) -> None:
    """Undo `recompute_activations`."""
    if hasattr(model, "activation_checkpointing_disable"):
        model.activation_checkpointing_disable()
    else:
        model.gradient_checkpointing_disable()


def timed(model: Any, way: Callable[[], Tensor]) -> tuple[float, int | None]:
    """Seconds of one forward and backward pass, and the peak of memory on a GPU."""
    model.zero_grad(set_to_none=True)
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began = time.perf_counter()
    way().sum().backward()
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - began, torch.cuda.max_memory_allocated() if on_gpu else None


def tree_flops(model: Any, work: Work, tower_learns: bool) -> float:
    """Additions and multiplications that the tree's loss and gradients need; nothing for a frozen tower."""
    pairs = int((work.packed.seen_until - torch.arange(work.packed.seen_until.shape[1])).sum())
    tower = tower_flops(model, work.clip) if tower_learns else 0.0
    return text_flops(model, work, work.packed.input_ids.numel(), pairs) + tower


def naive_flops(model: Any, work: Work, tower_learns: bool) -> float:
    """The same of the repeated batch, which runs a frozen tower forward as well."""
    lengths = [len(work.prompt) + len(completion) for completion in work.completions]
    pairs = sum(length * (length + 1) // 2 for length in lengths)
    tower = len(lengths) * tower_flops(model, work.clip) / (1 if tower_learns else 3)
    return text_flops(model, work, sum(lengths), pairs) + tower


def text_flops(model: Any, work: Work, tokens: int, pairs: int) -> float:
    """Of the language model, forward and backward: a weight of a matrix costs 6 a token (2 and 4), a visible
    pair 12 a layer and feature."""
    text = model.config.text_config
    flops = 6 * matrices(model.model.language_model.layers) * tokens
    flops += 12 * pairs * text.hidden_size * text.num_hidden_layers
    return float(flops + 6 * model.get_output_embeddings().weight.numel() * sum(map(len, work.completions)))


def tower_flops(model: Any, clip: ClipInput) -> float:
    """Of the vision tower over one clip, forward and backward."""
    vision, (steps, rows, columns) = model.model.visual, clip.grid_thw.tolist()
    patches = steps * rows * columns
    flops = 6 * (matrices(vision.blocks) + 2 / 3 * matrices(vision.patch_embed)) * patches
    flops += 6 * matrices(vision.merger) * patches // vision.spatial_merge_unit
    side = vision.window_size // vision.patch_size
    whole = len(set(vision.fullatt_block_indexes) & set(range(len(vision.blocks))))
    windowed = steps * squares(rows, side) * squares(columns, side) * (len(vision.blocks) - whole)
    pairs = windowed + steps * (rows * columns) ** 2 * whole
    return float(flops + 12 * pairs * model.config.vision_config.hidden_size)


def matrices(module: torch.nn.Module) -> int:
    """Weights in matrices; pixels need no gradient, so a patch embedding's cost 4."""
    return sum(weight.numel() for weight in module.parameters() if weight.dim() > 1)


def squares(length: int, side: int) -> int:
    """Sum of squares of the windows' sides along an axis."""
    return length // side * side**2 + (length % side) ** 2


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of ten square matrix products."""
    side = 8192 if device.type == "cuda" else 1024
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(10):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        one @ other
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times)


if __name__ == "__main__":
    main()
