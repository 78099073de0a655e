"""Questions about one or several images: tokens, positions and answers, against transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from policy_tiny import noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.policy.forward import hidden_states, logits
from tolman.policy.generate import generate
from tolman.policy.policy import Policy
from tolman.policy.prompt import Prompt, build_image_prompt, build_prompt, encode_clip, encode_image
from tolman.policy.tree import ClipInput, TokenTree, pack

MAKERS = {"qwen2_5_vl": tiny_policy, "qwen3_vl": tiny_qwen3_policy}


def small(kind: str) -> Policy:
    """A tiny policy whose checkpoint takes images of 1 to 24 tokens."""
    policy = MAKERS[kind]()
    token = policy.patch_spec.factor**2
    steps = policy.patch_spec.temporal if policy.patch_spec.per_clip else 1
    return replace(
        policy,
        patch_spec=replace(policy.patch_spec, min_pixels=token * steps, max_pixels=24 * token * steps),
    )


def noise(seed: int, height: int, width: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def joined(prompt: Prompt) -> tuple[list[int], list[ClipInput]]:
    """The prompt as one sequence, and its images."""
    parts = [*prompt.earlier, (prompt.clip_ids, prompt.clip)]
    ids = [token for tokens, _ in parts for token in tokens] + list(prompt.question_ids)
    return ids, [image for _, image in parts if image is not None]


def theirs(policy: Policy, prompt: Prompt) -> dict[str, Any]:
    """The same prompt as transformers takes it: image placeholders, image pixels."""
    ids, images = joined(prompt)
    image_id = policy.model.config.image_token_id
    assert image_id != policy.video_tokens.video_token_id
    row = torch.tensor([[image_id if one == policy.video_tokens.video_token_id else one for one in ids]])
    return {
        "input_ids": row,
        "attention_mask": torch.ones_like(row),
        "pixel_values": torch.cat([image.pixels for image in images]),
        "image_grid_thw": torch.stack([image.grid_thw for image in images]),
        "mm_token_type_ids": (row == image_id).long(),
    }


def test_each_image_stands_between_tokens_of_its_own() -> None:
    policy = small("qwen2_5_vl")
    # a token is 28 x 28 pixels: 2 x 3 and 1 x 2 tokens
    images = [encode_image(policy, noise(k, *size)) for k, size in enumerate([(56, 84), (28, 56)])]
    assert [image.grid_thw.tolist() for image in images] == [[1, 4, 6], [1, 2, 4]]
    prompt = build_image_prompt(policy, question("Which?"), images, "verbatim")
    one, two = (f"<|vision_start|>{'<|video_pad|>' * n}<|vision_end|>" for n in (6, 2))
    ids, _ = joined(prompt)
    assert policy.tokenizer.decode(ids) == (
        f"<|im_start|>user\n{one}{two}Which?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_an_image_keeps_its_aspect_within_the_checkpoints_bounds() -> None:
    policy = small("qwen2_5_vl")
    # 24 tokens at most: of 560 x 280 pixels, 20 x 10 tokens, sqrt(200 / 24) = 2.89 times less: 6 x 3
    assert encode_image(policy, noise(0, 560, 280)).grid_thw.tolist() == [1, 12, 6]
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\)"):
        encode_image(policy, noise(0, 8, 8)[None])


@pytest.mark.parametrize("kind", MAKERS)
def test_logits_equal_transformers(kind: str) -> None:
    policy = small(kind)
    images = [encode_image(policy, noise(k, *size)) for k, size in enumerate([(64, 96), (32, 64), (96, 96)])]
    prompt = build_image_prompt(policy, question("Which of the three?"), images, "verbatim")
    tree = TokenTree()
    prompt.add_to(tree)
    packed = pack([tree], policy.pad_id, policy.video_tokens)
    with torch.no_grad():
        ours = logits(policy.model, hidden_states(policy.model, packed))
        policy.model.set_attn_implementation("sdpa")
        expected = policy.model(**theirs(policy, prompt)).logits
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=2e-4)
    assert expected.std() > 0.1


@pytest.mark.parametrize("kind", MAKERS)
def test_greedy_answers_equal_transformers_and_images_are_shared(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = small(kind)
    one, two = encode_image(policy, noise(0, 64, 96)), encode_image(policy, noise(1, 64, 64))
    shown = [("How many?", [one, two]), ("Where is the door?", [one, two]), ("How many?", [two, one])]
    prompts = [build_image_prompt(policy, question(text), images, "verbatim") for text, images in shown]
    prompts.append(build_image_prompt(policy, question("How many?"), [two], "verbatim"))
    seen: list[int] = []
    original = policy.model.model.get_video_features

    def counted(pixels: Any, grid: Any) -> Any:
        seen.append(len(grid))
        return original(pixels, grid)

    monkeypatch.setattr(policy.model.model, "get_video_features", counted)
    groups = generate(policy, prompts, 1, max_new_tokens=12, temperature=0, stop_ids=())
    assert seen == [2]  # every image once, whatever the order
    policy.model.set_attn_implementation("sdpa")
    found = []
    for prompt, (sample,) in zip(prompts, groups, strict=True):
        inputs = theirs(policy, prompt)
        output = policy.model.generate(
            **inputs, do_sample=False, max_new_tokens=12, min_new_tokens=12, eos_token_id=[10**6]
        )
        expected = tuple(output[0, inputs["input_ids"].shape[1] :].tolist())
        assert sample.token_ids == expected
        found.append(expected)
    assert len(set(found)) > 1


def test_clips_and_images_are_answered_together() -> None:
    policy = small("qwen2_5_vl")
    image = encode_image(policy, noise(0, 56, 84))
    prompts = [
        build_prompt(policy, question("How many?"), noise_clip(policy, 0), "verbatim"),
        build_image_prompt(policy, question("How many?"), [image, image], "verbatim"),
        build_prompt(policy, question("Where?"), None, "verbatim"),
    ]
    together = generate(policy, prompts, 1, max_new_tokens=8, temperature=0)
    alone = [generate(policy, [prompt], 1, max_new_tokens=8, temperature=0)[0] for prompt in prompts]
    assert [sample.token_ids for (sample,) in together] == [sample.token_ids for (sample,) in alone]


def test_refusals() -> None:
    policy = small("qwen2_5_vl")
    with pytest.raises(ValueError, match="at least one image"):
        build_image_prompt(policy, question(), [], "verbatim")
    clip = encode_clip(policy, np.zeros((4, 56, 84, 3), np.uint8), np.arange(4.0))
    with pytest.raises(ValueError, match="image 1 of the question has 2 steps in time"):
        build_image_prompt(policy, question(), [clip], "verbatim")
