"""The chat template in checkpoints, for `apply_chat_template` of transformers and servers' chat routes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

_USER = "<|im_start|>user\n"
CHAT_TEMPLATE = r"""
{#- ChatML with Qwen's vision tokens, and no turn that was not asked for. -#}
{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] }}
    {%- else %}
        {%- for part in message['content'] %}
            {%- if part['type'] == 'text' %}
                {{- part['text'] }}
            {%- elif part['type'] in ('image', 'image_url') %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif part['type'] in ('video', 'video_url') %}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' }}
            {%- else %}
                {{- raise_exception('parts of a message are text, image or video, got ' + part['type']) }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""".lstrip()
"""What `build_prompt` says, from messages: the same token ids, with one placeholder for a clip's or image's
tokens, as processors of transformers and vLLM take it.

Two things differ, since a template's text is tokenised as one string. Special tokens written out in a message
are special (`build_prompt` spells them). And where nothing is shown, a question that begins with punctuation
may merge with the line break before it in the starter's tokenizer.
"""


def preamble_ids(tokenizer: Any, folder: Path) -> tuple[int, ...]:
    """What the tokenizer's chat template says before a user's first turn, unasked: Qwen2.5-VL's system turn.

    Warns where the template does not open a user's turn as prompts here do. Raises ValueError where it fails.
    """
    from jinja2 import TemplateError

    asked = [{"role": "user", "content": "?"}]
    try:
        text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    except (TemplateError, ValueError) as error:
        raise ValueError(f"{folder}: its chat template fails on a user's turn: {error}") from error
    before, user, _ = text.partition(_USER)
    if not user:
        warnings.warn(f"{folder}: its chat template does not write {_USER!r}; prompts here do", stacklevel=2)
        return ()
    return tuple(tokenizer(before, add_special_tokens=False)["input_ids"]) if before else ()
