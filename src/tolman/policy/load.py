"""Load a policy by name or from a checkpoint folder, and save one."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tolman.video.patches import PatchSpec

from .adapters import adapter_weights, merged_weights, save_adapters, without_adapters
from .chat import CHAT_TEMPLATE, preamble_ids
from .disk import disk_errors
from .family import FAMILIES, STEP_TOKENS, Family, family_of, preprocessing
from .policy import Policy

if TYPE_CHECKING:
    import torch

__all__ = ["Policy", "load_policy", "save_policy"]

STARTER = Path(__file__).parent / "starter"
"""The checkpoint shipped with the package."""

DEFAULT_FRAMES = 16
"""For checkpoints without a `tolman.json`; with `STEP_TOKENS` 1,536 tokens a clip."""

_SETTINGS = "tolman.json"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_PREPROCESSING = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
_FETCHED = ("*.json", "*.jinja", "*.safetensors", "*.txt")


def load_policy(
    name_or_path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | str | None = None
) -> Policy:
    """A policy, ready to run, with sdpa attention and in evaluation mode.

    name_or_path: `starter` (shipped with the package), `smol` (SmolLM2-135M in the same architecture, see
    `smol.make_smol`), a folder with a Qwen2.5-VL or Qwen3-VL checkpoint, or the hub id of one. Only
    safetensors weights are read and no code of a checkpoint is run. dtype: a torch dtype or its name; None is
    float32 on a CPU and bfloat16 elsewhere. Raises ValueError where there is no such device (`find_device`),
    where the folder is missing or incomplete, is of a class that no token tree fits (see `family.FAMILIES`),
    or its weights are damaged or do not fit.
    """
    import torch

    from .device import find_device

    device = find_device(device)
    if isinstance(dtype, str):
        dtype = _dtype(dtype)
    dtype = dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16)
    name = str(name_or_path)
    if name == "smol":
        from .smol import make_smol

        policy = make_smol()
        policy.model.to(device=device, dtype=dtype)
        return policy
    policy = _from_folder(_folder(name), dtype, name)
    policy.model.to(device)
    return policy


def save_policy(
    policy: Policy,
    folder: str | Path,
    dtype: torch.dtype | str | None = None,
    *,
    state: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a checkpoint that `load_policy` and plain transformers load, weights as `dtype` (None: as they
    are).

    A policy with adapters is written merged, and its adapters in PEFT's format into the folder's `adapter`.
    The chat template is the tokenizer's: a checkpoint's own, or `CHAT_TEMPLATE` where it had none.
    state: the weights, where the model itself holds them only in part; None takes `model.state_dict()`.
    The folder appears whole: it is written beside `folder` and renamed. An earlier policy there is replaced.
    Raises ValueError where `folder` holds anything else, OSError naming it where it cannot be written.
    """
    import torch

    folder = Path(folder)
    if isinstance(dtype, str):
        dtype = _dtype(dtype)
    dtype = dtype or next(policy.model.parameters()).dtype
    assert isinstance(dtype, torch.dtype)
    with _whole_folder(folder) as part:
        held = policy.model.state_dict() if state is None else state
        merged = merged_weights(policy.model, held)
        weights = {name: weight.detach().to("cpu", dtype) for name, weight in merged.items()}
        with without_adapters(policy.model), _generation_as_it_is(policy.model, part):
            policy.model.save_pretrained(part, state_dict=weights)
        if adapter_weights(policy.model):
            save_adapters(policy.model, part / "adapter")
        policy.tokenizer.save_pretrained(part)
        config = json.loads((part / "config.json").read_text())
        for section in (config, config["text_config"], config["vision_config"]):
            section["dtype"] = str(dtype).removeprefix("torch.")
        _write_json(part / "config.json", config)
        family = FAMILIES[policy.model.config.model_type]
        for name, content in preprocessing(family, policy.patch_spec).items():
            _write_json(part / name, content)
        settings = {"frames": policy.frames, "frame_size": list(policy.frame_size)}
        _write_json(part / _SETTINGS, settings)


@contextmanager
def _generation_as_it_is(model: Any, part: Path) -> Iterator[None]:
    """Write the model's generation settings unchecked where it is saved in the block.

    transformers 5.19 refuses to save what it has loaded itself where flags contradict each other (a
    temperature without sampling, as published checkpoints have it), 5.23 does not. That would be at the end
    of a run of days.
    """
    import transformers

    settings: Any = transformers.GenerationConfig
    own, model.generation_config = model.generation_config, settings()
    try:
        yield
    finally:
        model.generation_config = own
    own.to_json_file(part / "generation_config.json", use_diff=True)


def _dtype(name: str) -> torch.dtype:
    """A torch dtype by name. Raises ValueError for others than the floating ones."""
    import torch

    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ValueError(f"unknown dtype {name!r}; known: {', '.join(known)}")
    return known[name]


def _folder(name: str) -> Path:
    """The local folder of a checkpoint, downloaded if `name` is a hub id and no folder."""
    if name == "starter":
        if not (STARTER / "config.json").is_file():
            raise ValueError(
                f"the starter policy is not in this installation ({STARTER} is missing or empty); "
                "reinstall tolman, or give the folder of another checkpoint"
            )
        return STARTER
    folder = Path(name)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(name):
        raise ValueError(
            f"no policy {name!r}: give 'starter', 'smol', a checkpoint folder or a hub id owner/name"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(_FETCHED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(f"{name!r} is no folder here and cannot be had from the hub: {error}") from error


def _from_folder(folder: Path, dtype: torch.dtype, name: str) -> Policy:
    """Check a checkpoint folder, then load it."""
    import transformers

    family, config = _checked_config(folder)
    patch_spec = _patch_spec(folder, config, family)
    frames, frame_size = _settings(folder, patch_spec)
    model_class: Any = getattr(transformers, family.model_class)
    model, info = model_class.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    problems = {kind: sorted(map(str, info.get(kind) or ())) for kind in ("missing_keys", "mismatched_keys")}
    if any(problems.values()):
        found = "; ".join(f"{kind}: {', '.join(names[:5])}" for kind, names in problems.items() if names)
        raise ValueError(f"{folder}: the weights do not fill the model ({found}); is the file complete?")
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    tokenizer.chat_template = _chat_template(folder, tokenizer.chat_template)
    model.eval()
    preamble = preamble_ids(tokenizer, folder)
    return Policy(model, tokenizer, patch_spec, frames, frame_size, name, preamble)


def _chat_template(folder: Path, of_tokenizer: Any) -> Any:
    """The checkpoint's own template, one text or several by name, or `CHAT_TEMPLATE` where it has none.

    Processors of transformers 4 kept theirs apart from the tokenizer's, in JSON. It is the one that knows of
    pictures, and the one that vLLM takes. Raises ValueError where such a file is not JSON.
    """
    if not (folder / "chat_template.jinja").is_file():
        for path in (folder / name for name in ("chat_template.json", "processor_config.json")):
            if path.is_file() and (found := read_json(path).get("chat_template")):
                return found
    return of_tokenizer or CHAT_TEMPLATE


def _checked_config(folder: Path) -> tuple[Family, Any]:
    """The checkpoint's family and configuration. Raises ValueError where no token tree fits it or it has no
    safetensors weights."""
    import transformers

    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder}: no config.json, so this is no checkpoint folder")
    raw = read_json(path)
    try:
        family = family_of(raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _check_weights(folder)
    config: Any = getattr(transformers, family.config_class).from_pretrained(folder, local_files_only=True)
    if not set(getattr(config.text_config, "layer_types", ())) <= {"full_attention"}:
        raise ValueError(
            f"{path}: has sliding-window layers, which a token tree cannot use; set use_sliding_window false"
        )
    return family, config


def _check_weights(folder: Path) -> None:
    """That the folder holds whole safetensors files and would have transformers read nothing else.

    Raises ValueError where there is none, where one is damaged or cut short, where an index names a file of
    another kind or place, and where adapters would be put on the weights.
    """
    from safetensors import SafetensorError, safe_open

    files = {file.name: file for file in sorted(folder.glob("*.safetensors"))}
    if not files:
        raise ValueError(f"{folder}: no *.safetensors weights; other formats can run code and are not read")
    if (folder / "adapter_config.json").exists():
        raise ValueError(
            f"{folder}: holds adapters beside the weights (adapter_config.json); merge them first"
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = read_json(index).get("weight_map")
        named = set(map(str, shards.values())) if isinstance(shards, dict) else {"no weight_map"}
        if wrong := sorted(named - set(files)):
            raise ValueError(
                f"{index}: {wrong[0]!r} is no *.safetensors file of this folder; is it complete?"
            )
    for file in files.values():
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{file}: damaged or cut short ({error}); is the download complete?") from error


def _patch_spec(folder: Path, config: Any, family: Family) -> PatchSpec:
    """Patch settings from the folder's preprocessing file, or else from the vision configuration."""
    vision = config.vision_config
    tower = {
        "patch": vision.patch_size,
        "merge": vision.spatial_merge_size,
        "temporal": vision.temporal_patch_size,
    }
    if not any((folder / name).is_file() for name in _PREPROCESSING):
        return replace(family.patch_spec, **tower)
    spec = PatchSpec.from_folder(folder)
    wrong = [
        f"{key} {getattr(spec, key)} (model: {value})"
        for key, value in tower.items()
        if getattr(spec, key) != value
    ]
    if wrong:
        raise ValueError(f"{folder}: preprocessing and model disagree on {', '.join(wrong)}")
    return spec


def _settings(folder: Path, spec: PatchSpec) -> tuple[int, tuple[int, int]]:
    """Frames and frame size from `tolman.json`, or the defaults where there is none."""
    path = folder / _SETTINGS
    if not path.is_file():
        return DEFAULT_FRAMES, (STEP_TOKENS[0] * spec.factor, STEP_TOKENS[1] * spec.factor)
    raw = read_json(path)
    frames, size = raw.get("frames"), raw.get("frame_size")
    if type(frames) is not int or frames < 1:
        raise ValueError(f"{path}: frames must be a positive integer, got {frames!r}")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or any(type(side) is not int or side < 1 for side in size)
    ):
        raise ValueError(f"{path}: frame_size must be [height, width] in pixels, got {size!r}")
    return frames, (size[0], size[1])


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ValueError naming the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: must hold a JSON object, got {type(raw).__name__}")
    return raw


def _write_json(path: Path, value: dict[str, Any]) -> None:
    """Write with sorted keys and a final newline."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` on success and leaves no trace otherwise."""
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / _SETTINGS).is_file())
    ):
        raise ValueError(f"{folder} exists and is no saved policy; choose another folder or remove it")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    with disk_errors("policy", folder):
        try:
            part.mkdir(parents=True)
            yield part
            if folder.exists():
                folder.replace(old)
            part.replace(folder)
        finally:
            for leftover in (part, old):
                if leftover.exists():
                    shutil.rmtree(leftover)
