"""Supervised fine-tuning: what the gold completion says, and what its tokens weigh."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from learn_world import sft_table, tiny_policy, write_dataset
from tolman.data.working import working
from tolman.learn.batching import flat_log_probs, tree_scores_of
from tolman.learn.corpus import load_corpus
from tolman.learn.recipe import apply_overrides, parse_recipe
from tolman.learn.sft import Sft


@pytest.mark.parametrize("micro", [0, 1])
@pytest.mark.parametrize("normalise", ["tokens", "sequences"])
def test_tokens_after_the_map_weigh_more(tmp_path: Path, normalise: str, micro: int) -> None:
    policy = tiny_policy()
    data = write_dataset(tmp_path / "data")
    overrides = [
        "objective.options.after_map=3.0", f"loss.normalise={normalise}", f"batch.micro_clips={micro}",
        "batch.clips=2",
    ]  # fmt: skip
    recipe = parse_recipe(apply_overrides(sft_table(data, tmp_path), overrides))
    objective = Sft(recipe, policy, load_corpus(recipe.data))
    batch = objective.batch(0)
    found = sum(float(objective.loss(part).loss.detach()) for part in batch.parts)
    terms, weights = [], []
    for part in batch.parts:
        for clip in part.clips:
            one = flat_log_probs(tree_scores_of(policy, [clip])).detach().split(clip.lengths)
            for node, log_probs in zip(clip.completion_nodes, one, strict=True):
                ids = clip.tree.nodes[node].token_ids
                text = [policy.tokenizer.decode(ids[: k + 1]) for k in range(len(ids))]
                weight = [1.0 if k == 0 or "</map>" not in text[k - 1] else 3.0 for k in range(len(ids))]
                assert {1.0, 3.0} == set(weight)
                terms.append(-log_probs * torch.tensor(weight))
                weights += weight
    mean = sum(weights) / len(weights)
    if normalise == "tokens":
        expected = float(torch.cat(terms).sum()) / sum(weights)
    else:
        expected = sum(float(term.mean()) for term in terms) / len(terms) / mean
    assert found == pytest.approx(expected, rel=1e-5)


def test_blind_questions_show_no_clip_and_teach_only_what_follows_the_map(tmp_path: Path) -> None:
    policy = tiny_policy()
    data = write_dataset(tmp_path / "data")
    rows = (data / "questions.jsonl").read_text()
    asked = rows.replace("How many chairs are there?", "How many chair(s) are in this room?", 10)
    (data / "questions.jsonl").write_text(asked)
    overrides = ["objective.options.blind=3", "objective.options.working=true", "batch.clips=1"]
    recipe = parse_recipe(apply_overrides(sft_table(data, tmp_path), overrides))
    objective = Sft(recipe, policy, load_corpus(recipe.data))
    seen, blind = objective.batch(0).parts
    assert (objective.batch(0).samples, len(seen.clips), len(blind.clips)) == (5, 1, 3)
    assert all(node.clip is None for tree in blind.clips for node in tree.tree.nodes)
    for tree in blind.clips:
        assert working(tree.questions[0]), "only what can be worked out from the map is asked blind"
        (weights,) = tree.advantages
        ids = tree.tree.nodes[tree.completion_nodes[0]].token_ids
        learnt = [token for token, weight in zip(ids, weights, strict=True) if weight]
        worked = working(tree.questions[0])
        assert policy.tokenizer.decode(learnt) == (
            f"{worked}</think><answer>{tree.questions[0].answer}</answer><|im_end|>"
        )
    drawn = [[tree.questions for tree in objective.batch(step).parts[1].clips] for step in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    total = sum(float(objective.loss(part).loss.detach()) for part in (seen, blind))
    weights, terms = [], []
    for tree in (*seen.clips, *blind.clips):
        log_probs = flat_log_probs(tree_scores_of(policy, [tree])).detach()
        own = torch.tensor([weight for of_one in tree.advantages for weight in of_one])
        weights.append(own)
        terms.append(-(own * log_probs).sum())
    assert total == pytest.approx(float(sum(terms) / torch.cat(weights).sum()), rel=1e-5)


def test_blind_needs_questions_that_follow_from_their_maps(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    overrides = ["objective.options.blind=3", "objective.options.working=true"]
    recipe = parse_recipe(apply_overrides(sft_table(data, tmp_path), overrides))
    with pytest.raises(ValueError, match="no question can be worked out from its cognitive map"):
        Sft(recipe, tiny_policy(), load_corpus(recipe.data))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("blind=-1", "blind must be at least 0, got -1"),
        ("after_map=0.0", "after_map must be positive, got 0"),
        ("after_map=nan", "after_map must be positive, got nan"),
    ],
)
def test_weights_that_make_no_sense_are_refused(tmp_path: Path, option: str, message: str) -> None:
    data = write_dataset(tmp_path / "data")
    recipe = parse_recipe(apply_overrides(sft_table(data, tmp_path), [f"objective.options.{option}"]))
    with pytest.raises(ValueError, match=message):
        Sft(recipe, tiny_policy(), load_corpus(recipe.data))
