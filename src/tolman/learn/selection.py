"""A stage that trains nothing: it samples completions of every training question, grades them and writes the
rows that the next stage learns from.

Run folder: recipe.toml, rollouts.jsonl (one row per completion), metrics.jsonl (one row per batch),
skipped.jsonl, and at the end selection.json (how many were kept and why the others were not) and
questions.jsonl, whose being there says that the stage is done. A resumed stage goes on after its last whole
batch to the same files as one never interrupted.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tolman.data.files import write_lines
from tolman.data.rows import write_questions
from tolman.learn.batching import ClipTree, Reader, prompt_numbers
from tolman.learn.corpus import ClipQuestions, Corpus, Drawn, check_gold, load_corpus
from tolman.learn.engines.engine import Engine, make_engine
from tolman.learn.filtering import count_reasons, select_rows
from tolman.learn.processes import current, own_device
from tolman.learn.recipe import make_rewards
from tolman.learn.run_folder import METRICS, ROLLOUTS, SKIPPED, RunFolder
from tolman.learn.sections import Selection
from tolman.learn.seeds import generator
from tolman.learn.stages import ROWS, folder_of
from tolman.policy.generate import draw_uniforms
from tolman.policy.load import load_policy
from tolman.policy.policy import Policy
from tolman.policy.sampling import Sampling

SUMMARY = "selection.json"
Row = dict[str, Any]


def select(
    selection: Selection, *, resume: bool = False, progress: Callable[[Row], None] | None = None
) -> Path:
    """Run a selecting stage and return its run folder.

    Raises ValueError for what recipe, data or run folder get wrong, for too many unreadable clips, and where
    no row is left; OSError when the disk cannot be written.
    """
    folder = RunFolder(folder_of(selection))
    rewards, processes = make_rewards(selection), current()
    corpus = check_gold(load_corpus(selection.data), rewards, drop=selection.data.drop_bad_gold)
    if processes.first:
        folder.check_same(selection) if resume else folder.start(selection)
    if processes.from_first((folder.path / ROWS).is_file):
        return folder.path
    run = selection.run
    policy = load_policy(selection.model.path, device=own_device(run.device), dtype=selection.model.dtype)
    policy.model.requires_grad_(False).eval()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(run.threads or threads)
        with closing(make_engine(selection, policy)) as engine:
            engine.sync(policy, 0)
            _sample_all(selection, folder, policy, engine, corpus, progress or (lambda row: None))
    finally:
        torch.set_num_threads(threads)
    if processes.first:
        _write_rows(selection, folder, corpus)
    processes.wait()
    return folder.path


def _sample_all(
    selection: Selection,
    folder: RunFolder,
    policy: Policy,
    engine: Engine,
    corpus: Corpus,
    progress: Callable[[Row], None],
) -> None:
    batches = list(_batches(corpus.training, selection.batch.clips, selection.batch.questions_per_clip))
    reader, rewards = Reader(selection, policy), make_rewards(selection)
    processes = current()
    done, unreadable = processes.from_first(partial(_begun, folder))
    allowed = math.floor(selection.run.max_skipped * len(corpus.training))
    for step, batch in enumerate(batches[done:], start=done + 1):
        began = time.perf_counter()
        clips, skipped = reader.read(batch)
        if processes.first:
            folder.append(SKIPPED, ({"step": step, **skip._asdict()} for skip in skipped))
        unreadable |= {skip.path for skip in skipped}
        if skipped and len(unreadable) > allowed:
            raise ValueError(
                f"{len(unreadable)} clips cannot be read, {allowed} are allowed (run.max_skipped); the last "
                f"one: {skipped[-1].path}: {skipped[-1].reason}. All are listed in {folder.path / SKIPPED}"
            )
        rows = _sample(selection, engine, clips, step)
        for row in rows:
            verdicts = rewards.grade(row["completion"], row.pop("asked")).parts
            row["rewards"] = {
                name: {"value": graded.value, "reason": graded.reason} for name, graded in verdicts.items()
            }
        rows = processes.in_order((row.pop("place"), row) for row in rows)
        metrics = {"step": step, "steps": len(batches), "samples": len(rows), "skipped": len(skipped)}
        if processes.first:
            folder.append(ROLLOUTS, rows)
            folder.flush()
            folder.append(METRICS, [metrics | {"seconds": time.perf_counter() - began}])
            progress(metrics)


def _begun(folder: RunFolder) -> tuple[int, set[str]]:
    """Batches that are done, and the clips that could not be read in them; rows after them are cut off."""
    done = max((int(row["step"]) for row in folder.rows(METRICS)), default=0)
    folder.truncate(done)
    return done, {row["path"] for row in folder.rows(SKIPPED)}


def _batches(clips: Sequence[ClipQuestions], size: int, per_clip: int) -> Iterator[list[Drawn]]:
    """Every question once, in the corpus's order: `size` clips at a time with up to `per_clip` of theirs."""
    drawn = [
        Drawn(clip, clip.questions[at : at + per_clip])
        for clip in clips
        for at in range(0, len(clip.questions), per_clip)
    ]
    for at in range(0, len(drawn), size):
        yield drawn[at : at + size]


def _sample(selection: Selection, engine: Engine, clips: Sequence[ClipTree], step: int) -> list[Row]:
    """A row per completion of this process's clips, with its question still in `asked` and its number among
    all processes' in `place`."""
    config = selection.sampling
    asked = [question for clip in clips for question in clip.questions]
    numbers, total = prompt_numbers(clips)
    random = generator(selection.run.seed, step, "selection")
    uniforms = draw_uniforms(total, config.group, config.max_new_tokens, random)
    groups = engine.sample(
        [prompt for clip in clips for prompt in clip.prompts],
        config.group,
        Sampling(config.temperature, config.top_p, config.top_k),
        uniforms.view(total, config.group, config.max_new_tokens)[numbers].flatten(0, 1),
    )
    return [
        {
            "step": step,
            "path": question.path,
            "problem_id": question.problem_id,
            "problem": question.problem,
            "completion": sample.text,
            "finished": sample.finished,
            "asked": question,
            "place": number * config.group + index,
        }
        for number, question, group in zip(numbers, asked, groups, strict=True)
        for index, sample in enumerate(group)
    ]


def _write_rows(selection: Selection, folder: RunFolder, corpus: Corpus) -> None:
    """Choose from all rollouts; questions.jsonl comes last, whole."""
    asked = {_key(question.to_row()): question for clip in corpus.training for question in clip.questions}
    sampled: dict[tuple[Any, ...], list[Row]] = {key: [] for key in asked}
    for row in folder.rows(ROLLOUTS):
        sampled[_key(row)].append(row)
    chosen = []
    for key, question in asked.items():
        values = [row["rewards"][selection.select.of]["value"] for row in sampled[key]]
        scores = [math.nan if value is None else float(value) for value in values]
        texts = [row["completion"] for row in sampled[key]]
        chosen.append(select_rows(question, texts, scores, selection.select))
    counts = count_reasons(chosen)
    write_lines(folder.path / SUMMARY, [json.dumps(counts)])
    kept = [row for entry in chosen for row in entry.rows]
    if not kept:
        raise ValueError(f"{folder.path}: no row passes [select]: {counts}")
    write_questions(folder.path / ROWS, kept)


def _key(row: Row) -> tuple[Any, ...]:
    return row["path"], row["problem_id"], row["problem"]
