"""The chat template of checkpoints, used as plain transformers and vLLM use it."""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import jinja2
import numpy as np
import pytest
import transformers

from policy_tiny import noise_clip, question, tiny_policy, tiny_qwen3_policy
from tolman.policy.chat import CHAT_TEMPLATE, preamble_ids
from tolman.policy.load import STARTER, load_policy, save_policy
from tolman.policy.policy import Policy
from tolman.policy.prompt import TEMPLATES, build_image_prompt, build_prompt, encode_image
from tolman.policy.smol import read_tokenizer, smollm2_gguf
from tolman.policy.templates import question_text
from tolman.policy.tree import ClipInput

SHOWN = "<|vision_start|><|video_pad|><|vision_end|>"
ASKED = question("How many chairs are there, at most 12?", options=["A. 1", "B. 2"])
Messages = list[dict[str, Any]]


def user(text: str, *shown: str) -> Messages:
    """One turn with what it shows before its text; without anything, its content is text alone."""
    parts = [{"type": kind} for kind in shown]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}] if shown else text}]


def plain(tokenizer: Any, messages: Messages) -> list[int]:
    """What transformers makes of messages."""
    ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    return ids


def smol_tokenizer() -> Any:
    try:
        return read_tokenizer(smollm2_gguf())
    except ValueError as error:
        pytest.skip(str(error))


def qwens_own(family: str) -> str:
    """Its chat template, as TRL has it."""
    file = Path(pytest.importorskip("trl").__file__).parent / "chat_templates" / f"{family}.jinja"
    if not file.is_file():
        pytest.skip(f"this version of trl has no {file.name}")
    return file.read_text()


def asked_by(policy: Policy, template: str) -> Policy:
    """As a checkpoint that came with this template."""
    policy.tokenizer = copy.deepcopy(policy.tokenizer)  # that of tiny policies is shared
    policy.tokenizer.chat_template = template
    policy.preamble = preamble_ids(policy.tokenizer, Path("theirs"))
    return policy


MAKERS: dict[str, Callable[[], Policy]] = {
    "starter": lambda: load_policy("starter"),
    "fresh": tiny_policy,
    "qwen3": tiny_qwen3_policy,
    "qwen2.5's own": lambda: asked_by(tiny_policy(), qwens_own("qwen2_5_vl")),
    "qwen3's own": lambda: asked_by(tiny_qwen3_policy(), qwens_own("qwen3_vl")),
}


def with_tokens_of(name: str) -> Policy:
    """A policy with that tokenizer: prompts depend on nothing else where no clip is shown."""
    if name != "smol":
        return MAKERS[name]()
    policy = tiny_policy()
    policy.tokenizer = smol_tokenizer()
    return policy


@pytest.mark.parametrize("name", [*MAKERS, "smol"])
def test_text_has_the_ids_of_a_prompt(name: str) -> None:
    policy = with_tokens_of(name)
    for template in TEMPLATES:
        prompt = build_prompt(policy, ASKED, None, template)
        text = question_text(ASKED, template)
        part = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        expected = [*prompt.clip_ids, *prompt.question_ids]
        assert plain(policy.tokenizer, user(text)) == expected
        assert plain(policy.tokenizer, part) == expected


def filled(policy: Policy, clip: ClipInput) -> str:
    """What transformers' processors put in a clip's place: a placeholder for each token, and the times."""
    steps, height, width = (int(n) for n in clip.grid_thw)
    tokens = height * width // policy.patch_spec.merge**2
    if policy.video_tokens.tokens_per_second is not None:
        return SHOWN.replace("<|video_pad|>", "<|video_pad|>" * steps * tokens)
    step = SHOWN.replace("<|video_pad|>", "<|video_pad|>" * tokens)
    return "".join(f"<{seconds:.1f} seconds>{step}" for seconds in clip.step_seconds)


@pytest.mark.parametrize("name", MAKERS)
def test_a_clip_has_the_ids_of_a_prompt(name: str) -> None:
    policy = MAKERS[name]()
    clip = noise_clip(policy, 0)
    prompt = build_prompt(policy, ASKED, clip, "map")
    messages = user(question_text(ASKED, "map"), "video")
    text = policy.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert text.count(SHOWN) == 1
    ids = policy.tokenizer(text.replace(SHOWN, filled(policy, clip)))["input_ids"]
    assert ids == [*prompt.clip_ids, *prompt.question_ids]


@pytest.mark.parametrize(("name", "kind"), [("fresh", "image_url"), ("qwen2.5's own", "image")])
def test_images_stand_where_a_prompt_has_them(name: str, kind: str) -> None:
    policy = MAKERS[name]()
    one = encode_image(policy, np.zeros((56, 84, 3), np.uint8))
    prompt = build_image_prompt(policy, ASKED, [one, one], "map")
    messages = user(question_text(ASKED, "map"), "image", kind)
    text = policy.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    tokens = int(one.grid_thw.prod()) // policy.patch_spec.merge**2
    ids = policy.tokenizer(text.replace("<|image_pad|>", "<|video_pad|>" * tokens))["input_ids"]
    earlier = [token for tokens, _ in prompt.earlier for token in tokens]
    assert ids == [*earlier, *prompt.clip_ids, *prompt.question_ids]
    assert text.count("<|image_pad|>") == 2


CONVERSATION: Messages = [
    {"role": "system", "content": "You know rooms."},
    {
        "role": "user",
        "content": [{"type": "video"}, {"type": "text", "text": "How many?"}, {"type": "image"}],
    },
    {"role": "assistant", "content": "<think>two</think> <answer>2</answer>"},
    {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "tables?"}]},
]


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_conversation_reads_as_in_qwens_own_template(family: str, more: bool) -> None:
    """As TRL has them; Qwen2.5-VL's has a system turn of its own where the conversation has none."""
    own = qwens_own(family)
    tokenizer = tiny_policy().tokenizer
    ours, theirs = (
        tokenizer.apply_chat_template(
            CONVERSATION, chat_template=template, tokenize=False, add_generation_prompt=more
        )
        for template in (CHAT_TEMPLATE, own)
    )
    assert ours == theirs
    assert ours.count("<|im_start|>") == 4 + more


def test_a_prompt_begins_as_the_checkpoints_own_template_does(tmp_path: Path) -> None:
    save_policy(asked_by(tiny_policy(), qwens_own("qwen2_5_vl")), tmp_path)
    policy = load_policy(tmp_path)
    start = policy.tokenizer.decode(build_prompt(policy, ASKED, None, "map").clip_ids)
    assert start == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    assert asked_by(tiny_policy(), qwens_own("qwen3_vl")).preamble == ()


def test_templates_that_prompts_cannot_follow() -> None:
    with pytest.warns(UserWarning, match="theirs: its chat template does not write"):
        assert asked_by(tiny_policy(), FOREIGN).preamble == ()
    with pytest.raises(ValueError, match="theirs: its chat template fails on a user's turn: no"):
        asked_by(tiny_policy(), "{{ raise_exception('no') }}")


def test_other_parts_of_a_message_are_refused() -> None:
    with pytest.raises(jinja2.TemplateError, match="text, image or video, got audio"):
        plain(tiny_policy().tokenizer, user("What is that?", "audio"))


def test_the_starter_carries_it() -> None:
    assert (STARTER / "chat_template.jinja").read_text(encoding="utf-8") == CHAT_TEMPLATE
    tokenizer = transformers.AutoTokenizer.from_pretrained(STARTER, local_files_only=True)
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_what_is_saved_carries_it(tmp_path: Path) -> None:
    save_policy(tiny_policy(), tmp_path / "policy")
    assert (tmp_path / "policy" / "chat_template.jinja").read_text(encoding="utf-8") == CHAT_TEMPLATE
    (tmp_path / "policy" / "chat_template.jinja").unlink()  # as those of earlier versions
    save_policy(load_policy(tmp_path / "policy"), tmp_path / "again")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "again", local_files_only=True)
    assert tokenizer.chat_template == CHAT_TEMPLATE


FOREIGN = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json", "chat_template.json"])
def test_a_template_of_its_own_is_kept(tmp_path: Path, place: str) -> None:
    """Wherever transformers 4 and 5 put it. A processor's in JSON goes before a tokenizer's."""
    folder, out = tmp_path / "theirs", tmp_path / "trained"
    save_policy(tiny_policy(), folder)
    (folder / "chat_template.jinja").unlink()
    if place == "chat_template.jinja":
        (folder / place).write_text(FOREIGN, encoding="utf-8")
    else:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        of_tokenizer = FOREIGN if place == "tokenizer_config.json" else "text only"
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": of_tokenizer}))
    if place == "chat_template.json":
        (folder / place).write_text(json.dumps({"chat_template": FOREIGN}))
    with pytest.warns(UserWarning, match="does not write"):
        save_policy(load_policy(folder), out)
    assert (out / "chat_template.jinja").read_text(encoding="utf-8") == FOREIGN
    assert not (out / "chat_template.json").exists()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out, local_files_only=True)
    said = tokenizer.apply_chat_template(user("Hello"), tokenize=False)
    assert said == "[user] Hello\n"


def test_templates_are_fetched_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub id brings its template files along, and no code."""
    asked: list[str] = []

    def fetch(name: str, *, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_policy("somebody/something")
    files = [
        "chat_template.jinja",
        "chat_template.json",
        "tokenizer.json",
        "modeling.py",
        "pytorch_model.bin",
    ]
    matches = importlib.import_module("huggingface_hub.utils").filter_repo_objects
    assert list(matches(files, allow_patterns=asked)) == files[:3]
