"""Saving and loading policies; nothing is fetched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from policy_tiny import TINY, flat_log_probs, noise_clip, question, tiny_policy
from tolman.learn.processes import own_device
from tolman.policy import load
from tolman.policy.device import find_device
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
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tolman.json",
    ]


def test_settings_that_contradict_each_other_are_kept(folder: Path, tmp_path: Path) -> None:
    """transformers refuses to save such a temperature, version 5.19 even where it was loaded."""
    edit(folder / "generation_config.json", do_sample=False, temperature=0.7)
    policy = load_policy(folder)
    policy.model.generation_config.top_k = 20  # changed, which all versions are strict about
    with pytest.raises(ValueError, match="generation"):
        policy.model.generation_config.save_pretrained(tmp_path)
    save_policy(policy, tmp_path / "saved again")
    kept = json.loads((tmp_path / "saved again" / "generation_config.json").read_text())
    assert (kept["do_sample"], kept["temperature"], kept["top_k"]) == (False, 0.7, 20)
    assert load_policy(tmp_path / "saved again").model.generation_config.eos_token_id == kept["eos_token_id"]


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


@pytest.mark.parametrize("length", [0, 7, 1000, -1])
def test_a_file_cut_short_is_named(folder: Path, length: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged or cut short"):
        load_policy(folder)


def shard(folder: Path, place: str) -> None:
    """Weights by an index, as large checkpoints have them: in a file at `place` and in one of the folder."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    half = len(weights) // 2
    parts = [dict(list(weights.items())[:half]), dict(list(weights.items())[half:])]
    names = ["model-00001-of-00002.safetensors", place]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name, metadata={"format": "pt"})
    index = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    content = {"metadata": {"total_size": 1}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


def test_weights_in_several_files(folder: Path) -> None:
    shard(folder, "model-00002-of-00002.safetensors")
    assert torch.equal(scores(load_policy(folder)), scores(tiny_policy()))


def publish(folder: Path) -> None:
    """Turn a saved policy into a folder as Qwen published Qwen2.5-VL, by transformers 4.49: the language
    model's keys on top of config.json, weights by their old names in several files, the chat template of the
    processor, nothing of ours."""
    config = json.loads((folder / "config.json").read_text())
    text, vision = config["text_config"], config["vision_config"]
    rope = text.pop("rope_parameters")
    kept = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act")  # fmt: skip
    flat = {key: value for key, value in config.items() if key.endswith("_token_id")}
    flat |= {key: text[key] for key in kept} | {"tie_word_embeddings": True, "model_type": "qwen2_5_vl"}
    flat |= {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "torch_dtype": "float32"}
    flat |= {"rope_theta": rope["rope_theta"], "sliding_window": 32768, "use_sliding_window": False,
             "max_window_layers": 2, "transformers_version": "4.41.2"}  # fmt: skip
    flat["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    tower = ("depth", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size", "patch_size",
             "spatial_merge_size", "window_size", "fullatt_block_indexes", "tokens_per_second",
             "temporal_patch_size")  # fmt: skip
    flat["vision_config"] = {key: vision[key] for key in tower} | {"in_chans": 3, "hidden_act": "silu"}
    (folder / "config.json").write_text(json.dumps(flat))
    weights = {
        name.replace("model.language_model.", "model.").replace("model.visual.", "visual."): weight
        for name, weight in load_file(folder / "model.safetensors").items()
    }
    assert {"model.embed_tokens.weight", "visual.patch_embed.proj.weight"} <= set(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    shard(folder, "model-00002-of-00002.safetensors")
    (folder / "chat_template.jinja").rename(folder / "chat_template.json")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "of the processor"}))
    (folder / "tolman.json").unlink()


def test_a_folder_as_it_was_published(folder: Path, tmp_path: Path) -> None:
    publish(folder)
    policy = load_policy(folder)
    assert (policy.frames, policy.frame_size) == (16, (336, 448))
    small = replace(policy, frames=4, frame_size=(56, 84))
    assert torch.equal(scores(small), scores(tiny_policy()))
    save_policy(policy, tmp_path / "trained")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "trained", local_files_only=True)
    assert again.chat_template == "of the processor"
    back = replace(load_policy(tmp_path / "trained"), frames=4, frame_size=(56, 84))
    assert torch.equal(scores(back), scores(small))


@pytest.mark.parametrize("place", ["../other.safetensors", "model-00002.bin", "/tmp/other.safetensors"])
def test_an_index_names_files_of_the_folder_alone(folder: Path, place: str, tmp_path: Path) -> None:
    shard(folder, place.replace("/tmp", str(tmp_path)))
    with pytest.raises(ValueError, match=r"index\.json: '.*' is no \*\.safetensors file of this folder"):
        load_policy(folder)


def test_adapters_beside_the_weights_are_refused(folder: Path) -> None:
    """transformers would put them on, from a pickle if need be."""
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x/y"}')
    with pytest.raises(ValueError, match="merge them first"):
        load_policy(folder)


@pytest.mark.parametrize("part", ["", "text_config", "vision_config"])
def test_a_checkpoint_does_not_choose_its_attention(folder: Path, part: str) -> None:
    """transformers takes the name of a hub repository there and runs the kernel in it."""
    config = json.loads((folder / "config.json").read_text())
    (config[part] if part else config)["attn_implementation"] = "somebody/kernels"
    (folder / "config.json").write_text(json.dumps(config))
    own = load_policy(folder).model.config
    every = (own, own.text_config, own.vision_config)
    assert {one._attn_implementation for one in every} == {"sdpa"}


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


@pytest.mark.parametrize(
    ("name", "gpus", "said"),
    [
        ("auto", 1, "no device 'auto'"),
        ("cuda", 0, "'cuda': torch .* sees no GPU here"),
        ("cuda:1", 1, "'cuda:1': torch .* sees 1 GPU here"),
        ("cuda:2", 2, "'cuda:2': torch .* sees 2 GPUs here"),
    ],
)
def test_devices_that_are_not_there_are_named(
    name: str, gpus: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ValueError, match=said):
        load_policy("starter", device=name)
    with pytest.raises(ValueError, match=said):
        own_device(name)
    assert find_device("cpu") == find_device(torch.device("cpu")) == torch.device("cpu")


def test_devices_that_are_there_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(find_device(name)) for name in ("cuda", "cuda:0", "cuda:1")] == ["cuda", "cuda:0", "cuda:1"]
