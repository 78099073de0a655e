"""Qwen3-VL: prompts, positions, scores, samples and checkpoints against transformers' own code."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from policy_tiny import flat_log_probs, gradients, noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.learn.optim import choose_trained, recompute_activations
from tolman.policy.family import FAMILIES
from tolman.policy.forward import clip_features
from tolman.policy.generate import generate
from tolman.policy.load import load_policy, save_policy
from tolman.policy.logprobs import tree_log_probs
from tolman.policy.policy import Policy
from tolman.policy.prompt import ClipInput, Prompt, build_prompt, encode_clip
from tolman.policy.templates import question_text
from tolman.policy.tree import Packed, TokenTree, VideoTokens, pack

VIDEO = VideoTokens(video_token_id=9, merge=2, tokens_per_second=None)
COMPLETIONS: list[tuple[int, ...]] = [
    (20, 21, 22, 23, 24),
    (30,),
    (),
    (20, 40, 41, 2),
    (50, 51, 52),
    (60, 61),
]
"""Unequal, of one token, empty."""


def said_by_transformers(grid: tuple[int, int, int], indices: list[int], fps: float) -> str:
    """The processor's text for one video, by its own method; the whole of it does not run without
    torchvision."""
    timestamps: Any = Qwen3VLProcessor._calculate_timestamps
    processor = SimpleNamespace(
        video_processor=SimpleNamespace(merge_size=2, temporal_patch_size=2),
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
        video_token="<|video_pad|>",
        _calculate_timestamps=partial(timestamps, None),
    )
    metadata = SimpleNamespace(fps=fps, frames_indices=list(indices))
    inputs = {"video_grid_thw": torch.tensor([grid]), "video_metadata": [metadata]}
    expand: Any = Qwen3VLProcessor.replace_video_token
    return str(expand(processor, inputs, 0))


def forest(policy: Policy) -> tuple[Packed, list[tuple[int, int]], list[Any]]:
    """Two clips with two questions each and a prompt of text, three completions each, in one batch."""
    trees, nodes, flat = [], [], []
    for row, clip in enumerate((noise_clip(policy, 0), noise_clip(policy, 1, 2.0), None)):
        tree, root = TokenTree(), None
        for k, text in enumerate(("How many chairs?", "Is the bed closer?")[: 2 if clip else 1]):
            prompt = build_prompt(policy, question(text), clip, "map")
            root, asked = prompt.add_to(tree, root)
            for completion in COMPLETIONS[3 * k : 3 * k + 3]:
                nodes.append((row, tree.add(completion, asked)))
                flat.append((prompt.clip_ids + prompt.question_ids, clip, completion))
        trees.append(tree)
    return pack(trees, policy.pad_id, policy.video_tokens), nodes, flat


@pytest.mark.parametrize("indices", [[0, 6], [0, 17, 40, 55, 71], [5]])
def test_token_ids_are_the_processors(indices: list[int]) -> None:
    policy = tiny_qwen3_policy()
    rgb = np.zeros((len(indices), 64, 96, 3), dtype=np.uint8)
    clip = encode_clip(policy, rgb, [index / 24 for index in indices])
    asked = question("How many?")
    prompt = build_prompt(policy, asked, clip, "map")
    steps = (len(indices) + 1) // 2
    text = (
        f"<|im_start|>user\n{said_by_transformers((steps, 4, 6), indices, 24)}{question_text(asked, 'map')}"
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    assert list(prompt.clip_ids + prompt.question_ids) == policy.tokenizer(text)["input_ids"]


def test_times_are_said_before_each_step() -> None:
    # frames at 0, 0.5, 1.5 and 2 s in pairs: the middles are 0.25, which rounds to the even 0.2, and 1.75
    policy = tiny_qwen3_policy()
    clip = encode_clip(policy, np.zeros((4, 64, 96, 3), dtype=np.uint8), [0.0, 0.5, 1.5, 2.0])
    assert clip.step_seconds == (0.25, 1.75)
    prompt = build_prompt(policy, question(), clip, "map")
    shown = "<|vision_start|>" + "<|video_pad|>" * 6 + "<|vision_end|>"
    assert policy.tokenizer.decode(prompt.clip_ids) == (
        f"<|im_start|>user\n<0.2 seconds>{shown}<1.8 seconds>{shown}"
    )


def test_pixels_are_the_video_processors() -> None:
    policy = tiny_qwen3_policy()
    rgb = np.random.default_rng(0).integers(0, 256, (5, 64, 96, 3), dtype=np.uint8)
    clip = encode_clip(policy, rgb, np.arange(5.0))
    values = (torch.from_numpy(rgb).permute(0, 3, 1, 2)[None].float() / 255 - 0.5) / 0.5
    patchify: Any = Qwen3VLVideoProcessor.patchify
    pixels, *grid = patchify(None, values, patch_size=16, merge_size=2, temporal_patch_size=2)
    assert clip.grid_thw.tolist() == grid == [3, 4, 6]
    torch.testing.assert_close(clip.pixels, pixels[0], rtol=0, atol=1e-5)


def test_positions_by_hand() -> None:
    # 2 x 1 x 2 tokens, each step a run: a step keeps one time, and what follows starts behind its width
    clip = ClipInput(torch.zeros(16, 3), torch.tensor([2, 2, 4]), 1.0)
    tree = TokenTree()
    root = tree.add([1, 9, 9, 5, 6, 9, 9, 2], clip=clip)
    tree.add([3], root)
    packed = pack([tree], 0, VIDEO)
    time, height, width = packed.position_ids[:, 0].tolist()
    assert time == height == [0, 1, 1, 3, 4, 5, 5, 7, 8]
    assert width == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert packed.mm_token_type_ids.tolist() == [[0, 2, 2, 0, 0, 2, 2, 0, 0]]


def test_positions_agree_with_transformers() -> None:
    policy = tiny_qwen3_policy()
    clip = encode_clip(policy, np.zeros((5, 64, 96, 3), dtype=np.uint8), [0.0, 3.0, 6.0, 9.0, 30.0])
    tree = TokenTree()
    build_prompt(policy, question(), clip, "map").add_to(tree)
    packed = pack([tree], policy.pad_id, policy.video_tokens)
    expected, _ = policy.model.model.get_rope_index(
        packed.input_ids, mm_token_type_ids=packed.mm_token_type_ids, video_grid_thw=packed.video_grid_thw
    )
    assert torch.equal(packed.position_ids, expected)


@pytest.mark.parametrize("ids", [[9] * 4, [9, 9, 1], [9, 9, 1, 9], [9, 9, 1, 9, 9, 1, 9, 9], [1]])
def test_runs_that_do_not_fit_the_steps_are_refused(ids: list[int]) -> None:
    tree = TokenTree()
    tree.add(ids, clip=ClipInput(torch.zeros(16, 3), torch.tensor([2, 2, 4]), 1.0))
    with pytest.raises(ValueError, match="2 runs of 2 placeholders"):
        pack([tree], 0, VIDEO)


def test_a_clip_that_does_not_say_its_times_is_refused() -> None:
    policy = tiny_qwen3_policy()
    seen = noise_clip(policy, 0)
    with pytest.raises(ValueError, match="0 times for 2 steps"):
        build_prompt(policy, question(), ClipInput(seen.pixels, seen.grid_thw, 0.5), "map")


@pytest.mark.parametrize("tower", ["trained", "frozen", "recomputed"])
def test_log_probs_and_gradients_equal_the_flat_batch(tower: str) -> None:
    policy, stock = tiny_qwen3_policy(), tiny_qwen3_policy()
    if tower == "recomputed":
        recompute_activations(policy.model)
        policy.model.train()
    for each in (policy, stock):
        choose_trained(each.model, "text" if tower == "frozen" else "all")
    packed, nodes, flat = forest(policy)
    features = clip_features(policy.model, packed.clips) if tower == "frozen" else None
    ours = tree_log_probs(policy.model, packed, nodes, features=features)
    ours_gradients = gradients(policy, ours)
    theirs = flat_log_probs(stock, flat)
    theirs_gradients = gradients(stock, theirs)
    torch.testing.assert_close(torch.cat(ours), torch.cat(theirs), rtol=1e-5, atol=1e-5)
    assert ours_gradients.keys() == theirs_gradients.keys()
    assert any("deepstack" in name for name in ours_gradients) == (tower != "frozen")
    for name, theirs_gradient in theirs_gradients.items():
        error = (ours_gradients[name] - theirs_gradient).norm() / theirs_gradient.norm().clamp_min(1e-6)
        assert error < 1e-5, name


def test_all_mergers_learn_with_the_text() -> None:
    model = tiny_qwen3_policy().model
    choose_trained(model, "text+merger")
    learning = {name for name, weight in model.model.visual.named_parameters() if weight.requires_grad}
    assert {name.split(".")[0] for name in learning} == {"merger", "deepstack_merger_list"}
    assert len(learning) == 3 * 6  # norm and two layers, weight and bias, of each of the three


def test_the_oracle_would_notice_missing_deepstack_features() -> None:
    policy = tiny_qwen3_policy()
    packed, nodes, flat = forest(policy)
    with torch.no_grad():
        features = clip_features(policy.model, packed.clips)
        assert [part.shape for part in features] == [(12, 3 * 64)] * 2
        shallow = [part[:, :64] for part in features]
        ours = torch.cat(tree_log_probs(policy.model, packed, nodes, features=shallow))
        theirs = torch.cat(flat_log_probs(policy, flat))
    assert (ours - theirs).abs().max() > 0.1


def test_greedy_equals_transformers_generate() -> None:
    policy, stock = tiny_qwen3_policy(), tiny_qwen3_policy().model
    first, second = noise_clip(policy, 0), noise_clip(policy, 1, 2.0)
    shown: list[tuple[str, ClipInput | None]] = [("How many?", first), ("Which?", second), ("Where?", None)]
    prompts = [build_prompt(policy, question(text), clip, "map") for text, clip in [*shown, ("Why?", first)]]
    ours = generate(policy, prompts, 2, max_new_tokens=16, temperature=0, stop_ids=())
    for prompt, group in zip(prompts, ours, strict=True):
        expected = stock_greedy(stock, prompt, 16)
        assert len(set(expected)) > 3  # not a constant
        assert [sample.token_ids for sample in group] == [expected] * 2


def test_sampled_log_probs_equal_the_trees() -> None:
    policy = tiny_qwen3_policy()
    tree = TokenTree()
    prompt = build_prompt(policy, question(), noise_clip(policy, 0), "map")
    _, asked = prompt.add_to(tree)
    seed = torch.Generator().manual_seed(3)
    (samples,) = generate(policy, [prompt], 3, max_new_tokens=20, temperature=0.7, generator=seed)
    nodes = [(0, tree.add(sample.token_ids, asked)) for sample in samples]
    with torch.no_grad():
        packed = pack([tree], policy.pad_id, policy.video_tokens)
        again = tree_log_probs(policy.model, packed, nodes, temperature=0.7)
    for sample, log_probs in zip(samples, again, strict=True):
        torch.testing.assert_close(sample.log_probs, log_probs, rtol=1e-4, atol=1e-4)


def stock_greedy(model: Any, prompt: Prompt, count: int) -> tuple[int, ...]:
    """What transformers' `generate` continues a prompt with."""
    ids = torch.tensor([prompt.clip_ids + prompt.question_ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if prompt.clip is not None:
        inputs |= {
            "pixel_values_videos": prompt.clip.pixels,
            "video_grid_thw": prompt.clip.grid_thw[None],
            "mm_token_type_ids": 2 * (ids == model.config.video_token_id).long(),
        }
    made = model.generate(
        **inputs, do_sample=False, max_new_tokens=count, min_new_tokens=count, eos_token_id=[10**6]
    )
    return tuple(made[0, ids.shape[1] :].tolist())


def test_a_saved_policy_comes_back_and_transformers_loads_it(tmp_path: Path) -> None:
    policy, folder = tiny_qwen3_policy(), tmp_path / "saved"
    save_policy(policy, folder)
    back = load_policy(folder)
    assert (back.patch_spec, back.frames, back.frame_size) == (policy.patch_spec, 4, (64, 96))
    assert type(back.model) is transformers.Qwen3VLForConditionalGeneration
    model: Any = transformers.Qwen3VLForConditionalGeneration.from_pretrained(folder)
    assert model.config.vision_config.deepstack_visual_indexes == [0, 2]
    for name, weight in policy.model.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name
        assert torch.equal(weight, back.model.state_dict()[name]), name
    video = json.loads((folder / "video_preprocessor_config.json").read_text())
    assert video["video_processor_type"] == "Qwen3VLVideoProcessor"
    assert video["size"] == {"shortest_edge": 131072, "longest_edge": 786432}
    image = json.loads((folder / "preprocessor_config.json").read_text())
    assert image["size"] == {"shortest_edge": 65536, "longest_edge": 393216}  # one image is two frames


def test_defaults_where_the_folder_says_nothing(tmp_path: Path) -> None:
    save_policy(tiny_qwen3_policy(), tmp_path / "saved")
    for name in ("tolman.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        (tmp_path / "saved" / name).unlink()
    policy = load_policy(tmp_path / "saved")
    assert (policy.frames, policy.frame_size) == (16, (384, 512))  # 12 x 16 tokens of 32 pixels
    assert policy.patch_spec == FAMILIES["qwen3_vl"].patch_spec


def test_missing_deepstack_weights_are_not_made_up(tmp_path: Path) -> None:
    save_policy(tiny_qwen3_policy(), tmp_path / "saved")
    file = tmp_path / "saved" / "model.safetensors"
    kept = {name: weight for name, weight in load_file(file).items() if "deepstack_merger_list.1" not in name}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing_keys.*deepstack_merger_list"):
        load_policy(tmp_path / "saved")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"model_type": "qwen3_vl_moe", "architectures": ["Qwen3VLMoeForConditionalGeneration"]},
            r"'qwen3_vl_moe' \(Qwen3VLMoeForConditionalGeneration\)",
        ),
        ({"model_type": ["qwen3_vl"], "architectures": None}, r"\['qwen3_vl'\]"),
        ({"model_type": None, "architectures": []}, "None"),
    ],
)
def test_classes_that_no_tree_fits_are_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    save_policy(tiny_policy(), tmp_path / "saved")
    config = tmp_path / "saved" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    supported = ".*Qwen2_5_VLForConditionalGeneration.*Qwen3VLForConditionalGeneration"
    with pytest.raises(ValueError, match=rf"config\.json: model_type is {named}, which is not.*{supported}"):
        load_policy(tmp_path / "saved")
