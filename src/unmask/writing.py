"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""The `errno` of an OSError where a disk, or a user's share of it, is full."""


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A partial file beside `path`, to be written; it takes the place of `path` when the block ends without an error.

    The partial is named `.NAME.` and eight hex digits, others each time, so that two writers of one file do not meet.

    Raises:
        OSError: a full disk (see `DISK_FULL`) names `path`, which the system leaves out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old text or the new one, never half."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
