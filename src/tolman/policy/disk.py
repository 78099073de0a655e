"""One error for a disk that does not take a file, whichever library was writing it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

_NUMBER = re.compile(r"\(os error (\d+)\)")


@contextmanager
def disk_errors(what: str, target: Path) -> Iterator[None]:
    """Raise OSError with `target` as its file name for what fails to be written in the block.

    safetensors reports a full disk in an error of its own, tokenizers in a bare Exception; both end in Rust's
    `(os error 28)`. Any other error passes.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, f"{what} not written ({reason})", str(target)) from error
    except Exception as error:
        found = _NUMBER.search(str(error))
        if not isinstance(error, SafetensorError) and (type(error) is not Exception or found is None):
            raise
        number = int(found.group(1)) if found else errno.EIO
        reason = os.strerror(number) if found else str(error)
        raise OSError(number, f"{what} not written ({reason})", str(target)) from error
