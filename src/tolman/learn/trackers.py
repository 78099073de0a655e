"""TensorBoard, W&B and trackio behind one interface. None is imported before a recipe names it."""

from __future__ import annotations

import importlib
import sys
import uuid
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Opening(NamedTuple):
    """What a tracker is opened with.

    folder: the run folder. name: for people. recipe: the resolved recipe as a table. run: `Tracker.run` of
    the run to go on with, "" for a new one.
    """

    folder: Path
    name: str
    project: str
    recipe: dict[str, Any]
    run: str = ""


class Tracker(Protocol):
    """Somewhere that the rows of metrics.jsonl go as well. Any method may raise anything."""

    @property
    def run(self) -> str:
        """What the tracker itself calls the run."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a step (1-based, always above the last one), all finite."""
        ...

    def close(self, done: bool) -> None:
        """Write what is left. done: False for a run that was cut short."""
        ...


class TensorBoard:
    """Event files in the run folder's `tensorboard/`, one more for each time the run is resumed."""

    run = "tensorboard"

    def __init__(self, opening: Opening) -> None:
        module: Any = importlib.import_module("torch.utils.tensorboard")
        self._writer = module.SummaryWriter(str(opening.folder / self.run))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append to the event file and flush it."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, done: bool) -> None:
        """Close the event file."""
        self._writer.close()


class Wandb:
    """W&B as its own environment variables set it up (WANDB_MODE, WANDB_ENTITY, WANDB_API_KEY, …)."""

    def __init__(self, opening: Opening) -> None:
        wandb: Any = importlib.import_module("wandb")
        self._run = wandb.init(
            project=opening.project,
            name=opening.name,
            config=opening.recipe,
            dir=str(opening.folder.absolute()),
            id=opening.run or None,
            resume="allow" if opening.run else None,
            reinit="create_new",  # a run that the caller has open stays theirs
            settings=wandb.Settings(console="off"),
        )
        self.run = str(self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand the values to W&B's own process, whole."""
        self._run.log(dict(values), step=step, commit=True)

    def close(self, done: bool) -> None:
        """Wait until everything is sent."""
        self._run.finish(exit_code=0 if done else 1)


class Trackio:
    """trackio as its own environment variables set it up (TRACKIO_DIR, TRACKIO_SPACE_ID, …).

    It knows runs by their name alone, so that a new run's gets six random digits; and one run at a time is
    open. What it prints goes to standard error, where everything goes that is for people.
    """

    def __init__(self, opening: Opening) -> None:
        self._trackio: Any = importlib.import_module("trackio")
        self.run = opening.run or f"{opening.name}-{uuid.uuid4().hex[:6]}"
        with redirect_stdout(sys.stderr):
            self._run = self._trackio.init(
                project=opening.project,
                name=self.run,
                config=opening.recipe,
                resume="allow" if opening.run else "never",
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand the values to trackio's own thread."""
        self._run.log(dict(values), step=step)

    def close(self, done: bool) -> None:
        """Wait until everything is stored."""
        with redirect_stdout(sys.stderr):
            self._trackio.finish()
