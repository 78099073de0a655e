"""A small byte-level BPE tokenizer with Qwen's chat and vision tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .chat import CHAT_TEMPLATE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Ids 0 to 7; left out of text decoded with `skip_special_tokens`."""

TAG_TOKENS = ("<think>", "</think>", "<map>", "</map>", "<answer>", "</answer>")
"""One token each, the last ids of the vocabulary; kept in decoded text, where rewards look for them."""

_PIECES = r" ?\p{L}+|\p{N}|[^\p{L}\p{N}]+(?= \p{L})|[^\p{L}\p{N}]+"
"""Words with their space, single digits, runs of anything else: `], [` in a map becomes one token."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn merges from `texts`; the same texts in the same order give the same tokenizer.

    Every string round-trips: the 256 bytes are in the vocabulary. Digits are never merged, so a number costs
    one token a digit and `12` shares nothing by accident with `120`. vocab_size: upper bound of the whole
    vocabulary, special and tag tokens included; fewer where texts are few. Raises ValueError where it has no
    room for the bytes and these tokens.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    smallest = len(alphabet) + len(SPECIAL_TOKENS) + len(TAG_TOKENS)
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size must be at least {smallest} (bytes, special and tag tokens), got {vocab_size}"
        )
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(TAG_TOKENS),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in TAG_TOKENS])
    return wrap_tokenizer(core)


def wrap_tokenizer(core: Any) -> PreTrainedTokenizerFast:
    """A transformers tokenizer with `CHAT_TEMPLATE` around a `tokenizers.Tokenizer` that has
    `SPECIAL_TOKENS`."""
    import transformers

    wrapper: Any = transformers.PreTrainedTokenizerFast
    wrapped: PreTrainedTokenizerFast = wrapper(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    return wrapped
