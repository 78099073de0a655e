"""The starter's tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_tiny import tiny_tokenizer
from tolman.policy.tokenizer import SPECIAL_TOKENS, TAG_TOKENS, train_tokenizer

CORPUS = ['<map>{"chair": [[1, 2], [8, 8]], "table": [[5, 5]]}</map>', "How many chairs are there? 12"] * 20


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_round_trips(text: str) -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_digits_stay_single_and_punctuation_merges() -> None:
    tokenizer = train_tokenizer(CORPUS, 400)
    pieces = tokenizer.tokenize("120")
    assert pieces == ["1", "2", "0"]
    # `[[`, a digit, `, `, a digit, `], [`, …: with single-character punctuation this would be 17 tokens
    assert len(tokenizer("[[1, 2], [8, 8]]")["input_ids"]) == 9


def test_special_tokens_come_first_and_tags_last() -> None:
    tokenizer = train_tokenizer(CORPUS, 400)
    size = len(tokenizer)
    assert size <= 400
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(8))
    assert tokenizer.convert_tokens_to_ids(list(TAG_TOKENS)) == list(range(size - 6, size))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_tags_survive_decoding_without_special_tokens() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer("<think>a</think> <answer>B</answer><|im_end|>")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think>a</think> <answer>B</answer>"
    assert sum(token in ids for token in tokenizer.convert_tokens_to_ids(list(TAG_TOKENS))) == 4


def test_the_same_texts_give_the_same_tokenizer() -> None:
    one, two = (train_tokenizer(CORPUS, 350).backend_tokenizer.to_str() for _ in range(2))
    assert one == two


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 270"):  # 256 bytes + 8 special + 6 tags
        train_tokenizer(CORPUS, 269)
