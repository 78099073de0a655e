"""A clip's sightings as a file, with the record of how the clip was made."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tolman.render.sightings import Sightings


class Made(NamedTuple):
    """parameters: digest of everything that shaped the clip. clip: SHA-256 of the clip's bytes."""

    parameters: str
    clip: str


def write_sightings(path: Path, sightings: Sightings, made: Made) -> None:
    """Write an `.npz`, whole or not at all, the same bytes for the same values.

    Raises ValueError naming `path` where it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                pixels_TI=sightings.pixels_TI,
                times_T=sightings.times_T,
                frame_pixels=np.int64(sightings.frame_pixels),
                made=np.array(made),
            )
        temporary.replace(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def read_sightings(path: Path) -> tuple[Sightings, Made]:
    """Read what `write_sightings` wrote. Raises ValueError naming `path` and what is wrong with it."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            sightings = Sightings(arrays["pixels_TI"], arrays["times_T"], int(arrays["frame_pixels"]))
            parameters, clip = arrays["made"].tolist()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a sightings file, or damaged: {error}") from error
    return sightings, Made(parameters, clip)
