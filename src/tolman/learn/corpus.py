"""Which questions a run learns from and in what order: both are pure functions of the recipe and the step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tolman.data.gold import gold_completion
from tolman.data.maps import read_maps, with_maps
from tolman.data.rows import clip_path, read_questions
from tolman.data.validate import answer_rewards, validate
from tolman.learn.curriculum import by_level, difficulty
from tolman.learn.sections import Data
from tolman.questions.question import Question
from tolman.reward.compose import Composed


@dataclass(frozen=True)
class ClipQuestions:
    """A clip and what is asked about it.

    name: the path as the questions give it. file: where it lies. level: how early an epoch comes to it, 0 for
    all alike.
    """

    name: str
    file: Path
    questions: tuple[Question, ...]
    level: float = 0.0


@dataclass(frozen=True)
class Corpus:
    """Clips to train on and clips never trained on, each in the order of the file."""

    training: tuple[ClipQuestions, ...]
    held_out: tuple[ClipQuestions, ...]


class Drawn(NamedTuple):
    """One clip of a step's batch with the questions asked this time."""

    clip: ClipQuestions
    questions: tuple[Question, ...]


def load_corpus(data: Data) -> Corpus:
    """Read, filter and split the questions of a recipe's [data] section.

    Raises ValueError when the file is missing, for what `filtered` refuses, and when nothing is left to train
    on.
    """
    file = _questions_file(Path(data.path))
    questions = filtered(read_questions(file), data, str(file))
    root = Path(data.clips) if data.clips else file.parent
    by_clip: dict[str, list[Question]] = {}
    for question in questions:
        by_clip.setdefault(question.path, []).append(question)
    levels = {name: difficulty(asked) if data.easy_first else 0.0 for name, asked in by_clip.items()}
    clips = [
        ClipQuestions(name, clip_path(asked[0], root), tuple(asked), levels[name])
        for name, asked in by_clip.items()
    ]
    held_out = tuple(clip for clip in clips if is_held_out(clip.name, data.holdout))
    training = tuple(clip for clip in clips if not is_held_out(clip.name, data.holdout))
    if not training:
        raise ValueError(f"{file}: no question is left to train on (families, problem_types, holdout)")
    return Corpus(training, held_out)


def filtered(questions: Sequence[Question], data: Data, source: str) -> list[Question]:
    """The questions that pass a recipe's filters, with their maps where `data.maps` holds them.

    source: what errors call the questions. Raises ValueError where a filter names something that none of them
    is, and for a file of maps that is broken or has no map for any of them.
    """
    filters = {
        "question_type": data.families, "problem_type": data.problem_types, "data_type": data.data_types,
    }  # fmt: skip
    kept = list(questions)
    for key, wanted in filters.items():
        present = {getattr(question, key) for question in kept}
        if missing := [name for name in wanted if name not in present]:
            raise ValueError(f"{source} has no {key} {missing[0]!r}; it has: {', '.join(sorted(present))}")
        if wanted:
            kept = [question for question in kept if getattr(question, key) in wanted]
    if not data.maps:
        return kept
    mapped = with_maps(kept, read_maps(data.maps))
    if not any(question.cognitive_map for question in mapped):
        raise ValueError(f"data.maps: {data.maps} holds no map of any clip in {source}")
    return mapped


def check_gold(corpus: Corpus, rewards: Composed | None, drop: bool) -> Corpus:
    """Make sure that the truth pays: every gold answer of the training part earns full marks, no wrong one
    does.

    rewards: the recipe's; those that look at the answer give the marks (`tolman.data.validate`), and all must
    be able to grade it. None where the run has none: then accuracy gives them. drop: leave such questions out
    instead of raising; clips without any question left go too. Raises ValueError with the number of bad
    questions and the first one's reason, or when dropping leaves nothing.
    """
    questions = [question for clip in corpus.training for question in clip.questions]
    failures = {id(q): failure for q in questions if (failure := _gold_failure(q, rewards))}
    if not failures:
        return corpus
    reason = next(iter(failures.values()))
    if not drop:
        raise ValueError(
            f"{len(failures)} of {len(questions)} training questions do not earn full marks with their own "
            f"answer; the first is {reason}. See `tolman data validate`, or set "
            "data.drop_bad_gold to leave them out"
        )
    kept = []
    for clip in corpus.training:
        if left := tuple(question for question in clip.questions if id(question) not in failures):
            kept.append(replace(clip, questions=left))
    if not kept:
        raise ValueError(f"data.drop_bad_gold drops all {len(questions)} questions: {reason}")
    return Corpus(tuple(kept), corpus.held_out)


def _gold_failure(question: Question, rewards: Composed | None) -> str:
    """Why a question must not be trained on, "" where it may."""
    for reward in answer_rewards(rewards, question):
        if failures := validate([question], reward).failures:
            return f"{question.problem_id}: {failures[0].reason}"
    verdicts = rewards.grade(gold_completion(question), question).parts if rewards else {}
    for name, graded in verdicts.items():
        if graded.ungraded:
            return f"{question.problem_id}: reward {name!r} cannot grade it: {graded.reason}"
    return ""


def is_held_out(name: str, share: float) -> bool:
    """Whether the clip called `name` belongs to the held-out share.

    Depends on the name only, so that adding clips never moves another one across the border, and a larger
    share contains every smaller one.
    """
    return in_share(name, share)


def in_share(name: str, share: float) -> bool:
    """Whether `name` belongs to a share of all names, told by its hash."""
    digest = hashlib.sha256(name.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2.0**64


def _questions_file(path: Path) -> Path:
    file = path / "questions.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"data.path: no questions at {file}; build a dataset or give a .jsonl or .json file")
    return file


def draw(clips: Sequence[ClipQuestions], seed: int, step: int, count: int, per_clip: int) -> list[Drawn]:
    """The `count` clips of a step (0-based), each with up to `per_clip` of its questions.

    Epochs are shuffled anew, then sorted by level; a batch may straddle two. A clip's questions are taken
    round robin in an order of its own, so that all are asked equally often. A pure function: resuming needs
    no stored position.
    """
    drawn = []
    orders: dict[int, npt.NDArray[np.int64]] = {}
    for position in range(step * count, (step + 1) * count):
        epoch, at = divmod(position, len(clips))
        if epoch not in orders:
            orders[epoch] = by_level(_permutation((seed, 0, epoch), len(clips)), [c.level for c in clips])
        index = int(orders[epoch][at])
        asked = clips[index].questions
        order = _permutation((seed, 1, index), len(asked))
        take = min(per_clip, len(asked))
        chosen = [asked[order[(epoch * take + k) % len(asked)]] for k in range(take)]
        drawn.append(Drawn(clips[index], tuple(chosen)))
    return drawn


@lru_cache(maxsize=4096)
def _permutation(key: tuple[int, ...], size: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(key).permutation(size)
