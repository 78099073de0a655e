"""Saving and loading policies; nothing is fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from policy_tiny import TINY, flat_log_probs, noise_clip, question, tiny_policy
from tolman.policy import load
from tolman.policy.load import STARTER, load_policy, save_policy
from tolman.policy.policy import Policy
from tolman.policy.prompt import build_prompt
from tolman.policy.starter import StarterConfig, make_starter
from tolman.policy.tokenizer import train_tokenizer


def scores(policy: Policy) -> torch.Tensor:
    """Log-probabilities of some tokens after a clip and a question."""
    clip = noise_clip(policy, 0)
    prompt = build_prompt(policy, question(), clip, "map")
    with torch.no_grad():
        return flat_log_probs(policy, [(prompt.clip_ids + prompt.question_ids, clip, (20, 21, 22))])[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved tiny policy."""
    save_policy(tiny_policy(), tmp_path / "saved")
    return tmp_path / "saved"


def edit(path: Path, **changes: Any) -> None:
    """Change top-level keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_saved_policy_comes_back(folder: Path) -> None:
    policy, back = tiny_policy(), load_policy(folder)
    assert torch.equal(scores(policy), scores(back))
    assert back.patch_spec == policy.patch_spec
    assert (back.frames, back.frame_size) == (4, (56, 84))
    assert back.name == str(folder)
    assert back.stop_ids == policy.stop_ids
    assert not back.model.training


def test_plain_transformers_loads_it(folder: Path) -> None:
    policy = tiny_policy()
    model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = '<think>120 chairs</think> <map>{"chair": [[1, 2]]}</map><|im_end|>'
    ids = policy.tokenizer(text)["input_ids"]
    assert tokenizer(text)["input_ids"] == ids
    with torch.no_grad():
        assert torch.equal(model(torch.tensor([ids])).logits, policy.model(torch.tensor([ids])).logits)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tolman.json",
    ]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_the_size(tmp_path: Path, dtype: str) -> None:
    policy = tiny_policy()
    save_policy(policy, tmp_path / "half", dtype=dtype)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {getattr(torch, dtype)}
    assert policy.model.dtype == torch.float32  # untouched
    assert load_policy(tmp_path / "half").model.dtype == torch.float32  # the default on a CPU
    assert load_policy(tmp_path / "half", dtype=dtype).model.dtype == getattr(torch, dtype)
    plain = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path / "half")
    assert plain.dtype == getattr(torch, dtype)


def test_saving_over_a_policy_replaces_it_and_over_anything_else_does_not(folder: Path) -> None:
    other = tiny_policy(seed=1)
    save_policy(other, folder)
    assert torch.equal(scores(load_policy(folder)), scores(other))
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]
    thesis = folder.parent / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("dear to somebody")
    with pytest.raises(ValueError, match="no saved policy"):
        save_policy(other, thesis)
    assert (thesis / "chapter.txt").exists()


def test_a_failed_save_leaves_the_old_policy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tiny_policy(seed=1)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(broken.tokenizer, "save_pretrained", fail)
    with pytest.raises(OSError, match="disk full"):
        save_policy(broken, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["saved"]
    assert torch.equal(scores(load_policy(folder)), scores(tiny_policy()))


def test_defaults_where_the_folder_says_nothing(folder: Path) -> None:
    (folder / "tolman.json").unlink()
    (folder / "preprocessor_config.json").unlink()
    policy = load_policy(folder)
    assert (policy.frames, policy.frame_size) == (16, (336, 448))
    assert (policy.patch_spec.patch, policy.patch_spec.merge, policy.patch_spec.temporal) == (14, 2, 2)


def test_other_architectures_are_refused_with_the_reason(folder: Path) -> None:
    edit(folder / "config.json", model_type="llama")
    with pytest.raises(ValueError, match=r"'llama'.*qwen2_5_vl"):
        load_policy(folder)


def test_only_safetensors_are_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        load_policy(folder)


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[
        "visual.merger.mlp.0.weight" if "visual.merger.mlp.0.weight" in weights else next(iter(weights))
    ]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="missing_keys"):
        load_policy(folder)


def test_sliding_windows_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"layer_types": ["full_attention", "sliding_attention"]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="sliding"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("tolman.json", {"frames": 0}, "frames"),
        ("tolman.json", {"frame_size": [56]}, "frame_size"),
        ("preprocessor_config.json", {"patch_size": 16}, "patch 16"),
    ],
)
def test_wrong_settings_are_refused(folder: Path, file: str, changes: dict[str, Any], message: str) -> None:
    edit(folder / file, **changes)
    with pytest.raises(ValueError, match=message):
        load_policy(folder)


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "STARTER", tmp_path / "starter")
    with pytest.raises(ValueError, match="starter policy is not in this installation"):
        load_policy("starter")
    with pytest.raises(ValueError, match=r"config\.json"):
        load_policy(tmp_path)
    with pytest.raises(ValueError, match="give 'starter', 'smol'"):
        load_policy(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="float8"):
        load_policy(tmp_path, dtype="float8")


def test_the_starters_size_and_determinism() -> None:
    tokenizer = train_tokenizer(["chairs"], 300)
    one, two, other = (make_starter(tokenizer, seed, TINY) for seed in (0, 0, 1))
    for (name, first), second, third in zip(
        one.model.named_parameters(), two.model.parameters(), other.model.parameters(), strict=True
    ):
        assert torch.equal(first, second), name
        if first.dim() > 1:
            assert not torch.equal(first, third), name
    big = make_starter(tokenizer, 0)
    count = sum(p.numel() for p in big.model.parameters()) + (2048 - len(tokenizer)) * 256
    assert 6e6 < count < 8e6
    assert 2 * count < 16 * 2**20
    assert big.model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden": 250},
        {"head_dim": 24, "hidden": 240},
        {"kv_heads": 3},
        {"vision_heads": 5},
        {"frame_size": (112, 100)},
    ],
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StarterConfig(**wrong)


def test_the_starter_is_shipped_and_small() -> None:
    policy = load_policy("starter")
    assert (policy.frames, policy.frame_size) == (8, (112, 112))
    size = sum(file.stat().st_size for file in STARTER.iterdir())
    assert size <= 16 * 2**20
    ids = policy.tokenizer("<think><map>{}</map></think><answer>4</answer>")["input_ids"]
    assert len(ids) == 9  # tags, braces and the digit are a token each
