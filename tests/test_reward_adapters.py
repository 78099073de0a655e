"""Rewards in TRL's trainer, in a real run, and behind verl's signature."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policy_tiny import tiny_tokenizer
from tolman.reward import Graded, adapters
from tolman.reward.adapters import compute_score, question_of, trl_reward

RIGHT, WRONG = "<think>so</think><answer>B</answer>", "<think>so</think><answer>A</answer>"
ROW = {"problem": "Which?", "problem_type": "multiple choice", "options": ["A. red", "B. blue"]}


def columns(rows: int, **changes: Any) -> dict[str, list[Any]]:
    row = ROW | {"solution": "<answer>B</answer>"} | changes
    return {name: [value] * rows for name, value in row.items()}


def test_trl_arguments() -> None:
    reward = trl_reward("accuracy", rule="published")
    assert reward.__name__ == "accuracy"
    assert trl_reward(lambda c, q: Graded(1.0, ""), "always").__name__ == "always"
    extra = {
        "prompts": ["p", "p"],
        "completion_ids": [[1], [2]],
        "trainer_state": object(),
        "log_extra": print,
    }
    assert reward([RIGHT, WRONG], **columns(2), **extra) == [1, 0]
    talked = [[{"role": "assistant", "content": RIGHT}]]
    pieces = [[{"role": "assistant", "content": [{"type": "text", "text": RIGHT}]}]]
    assert reward(talked, **columns(1)) == reward(pieces, **columns(1)) == [1]
    assert reward([], **columns(0)) == []


def test_what_cannot_be_graded_is_none_for_trl() -> None:
    assert trl_reward("accuracy")([RIGHT], **columns(1, problem_type="segmentation")) == [None]


def test_mistakes_in_trl_arguments() -> None:
    with pytest.raises(ValueError, match="no reward named"):
        trl_reward("acuracy")
    with pytest.raises(ValueError, match="options go with a reward's name"):
        trl_reward(lambda c, q: Graded(1.0, ""), rule="published")
    with pytest.raises(ValueError, match="lacks problem_type, solution"):
        trl_reward("accuracy")([RIGHT], problem=["?"])


def test_rows_as_columnar_datasets_give_them() -> None:
    question = question_of(
        {
            "solution": np.array([3.5, 7.0]),
            "problem_type": "temporal grounding",
            "options": None,
            "cognitive_map": {"chair": np.array([[1, 2]]), "table": None},  # another row has a table
            "evidence": '{"duration": 20}',
            "duration": np.float64(20),
        }
    )
    assert question.solution == "<answer>[3.5, 7.0]</answer>"
    assert question.cognitive_map == {"chair": [[1, 2]]}
    assert question.evidence == {"duration": 20}
    assert question.extra == {"duration": 20.0}
    with pytest.raises(ValueError, match="column evidence is not JSON"):
        question_of({"solution": "B", "evidence": "{"})


def test_verl_scores() -> None:
    info = ROW | {"options": np.array(ROW["options"]), "index": 7}
    assert compute_score("spacer", RIGHT, "B", info) == {"score": 2, "accuracy": 1, "format": 1}
    assert compute_score("spacer", WRONG, "<answer>B</answer>", info) == {
        "score": 1,
        "accuracy": 0,
        "format": 1,
    }
    rewards = [
        {"name": "accuracy", "weight": 0.9, "options": {"rule": "published"}},
        {"name": "format", "weight": 0.1},
    ]
    assert compute_score("spacer", RIGHT, "B", info, rewards=rewards)["score"] == pytest.approx(1)
    named = {"data_source": "spacer", "solution_str": RIGHT, "ground_truth": "B", "extra_info": info}
    assert compute_score(**named)["score"] == 2


def test_verl_takes_a_recipes_list() -> None:
    info = ROW | {"task": "QA"}
    rewards = [{"name": "accuracy"}, {"name": "format", "only": {"task": ["other"]}}]
    assert compute_score("x", RIGHT, "B", info, rewards=rewards) == {"score": 1, "accuracy": 1, "format": 0}
    with pytest.raises(ValueError, match="unknown key 'wieght'; valid keys: name, only, options, weight"):
        compute_score("x", RIGHT, "B", info, rewards=[{"name": "accuracy", "wieght": 2}])
    with pytest.raises(ValueError, match="needs a name"):
        compute_score("x", RIGHT, "B", info, rewards=[{"weight": 2}])


def test_verl_loads_it_by_path_and_calls_it_by_name() -> None:
    """As verl does (utils/import_utils.py, workers/reward_manager/naive.py): the file alone, keywords, and
    fields of its own among the extra ones."""
    spec = importlib.util.spec_from_file_location("custom_module", adapters.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    reward_kwargs = {"rewards": [{"name": "accuracy"}], "ungraded": 0.0}
    score = partial(module.compute_score, **reward_kwargs)(
        data_source="spacer", solution_str=RIGHT, ground_truth="B",
        extra_info=ROW | {"num_turns": None, "rollout_reward_scores": {}},
    )  # fmt: skip
    assert score == {"score": 1, "accuracy": 1}


def test_verl_has_no_word_for_what_cannot_be_graded() -> None:
    info = ROW | {"problem_type": "segmentation"}
    with pytest.raises(ValueError, match="cannot grade a completion of spacer: accuracy: no accuracy rule"):
        compute_score("spacer", RIGHT, "B", info)
    scored = compute_score("spacer", RIGHT, "B", info, ungraded=-1.0)
    assert scored == {"score": -1, "accuracy": -1, "format": 1}


def test_a_real_run_of_trl(tmp_path: Path) -> None:
    """Two steps of GRPO on a random model of a few thousand weights, graded by rewards of ours."""
    import torch
    from datasets import Dataset
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = tiny_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    seen: list[str] = []

    def letters(completion: str, question: Any) -> Graded:
        seen.append(question.solution)
        return Graded(sum(map(ord, completion)) % 97 / 97, "differs from text to text")

    arguments = GRPOConfig(
        str(tmp_path), max_steps=2, per_device_train_batch_size=4, num_generations=4, max_completion_length=6,
        learning_rate=0.1, report_to="none", use_cpu=True, bf16=False, save_strategy="no", logging_steps=1,
        disable_tqdm=True, seed=0,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model,
        [trl_reward(letters, "letters"), trl_reward("accuracy"), trl_reward("map")],
        arguments,
        train_dataset=Dataset.from_list([ROW | {"prompt": "Which?", "solution": "<answer>B</answer>"}] * 4),
        processing_class=tokenizer,
    )
    before = model.lm_head.weight.detach().clone()
    trainer.train()
    first = trainer.state.log_history[0]
    assert len(seen) == 8
    assert set(seen) == {"<answer>B</answer>"}
    assert 0 < first["rewards/letters/mean"] < 1
    assert first["rewards/accuracy/mean"] == 0
    assert first["rewards/map/mean"] is None  # no true map: left out of the sum
    assert first["reward"] == pytest.approx(first["rewards/letters/mean"])
    assert not model.lm_head.weight.equal(before)
