"""How a command ends: what a user got wrong is one line and exit code 2; what can go on says how."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from unmask.domains import DomainError
from unmask.folder import FolderInUse
from unmask.models.errors import ModelError
from unmask.runner.store import DamagedRecord, MissingRecord
from unmask.settings import SettingsError
from unmask.writing import DISK_FULL


def guarded(work: Callable[[], Any], goes_on: bool = False) -> Any:
    """Run `work`; what a user got wrong becomes one line and exit code 2, a full disk exit code 3.

    Args:
        work: what to run.
        goes_on: the same command measures a damaged record again, so that one is exit code 3 as well.
    """
    from unmask.features.errors import DictionaryError

    try:
        return work()
    except (
        DictionaryError,
        ModelError,
        DomainError,
        SettingsError,
        FolderInUse,
        MissingRecord,
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            say_how_to_go_on(f"the disk is full: no room for {error.filename or 'a file'}. Make some.")
        if isinstance(error, DamagedRecord) and goes_on:
            say_how_to_go_on(f"the record {error.path} was damaged while the run was on.")
        stop(str(error))


def say_how_to_go_on(why: str) -> NoReturn:
    # Going on with --fresh would begin again.
    words = " ".join(shlex.quote(word) for word in ["unmask", *sys.argv[1:]] if word != "--fresh")
    print(f"unmask: {why} What is done is kept; to go on: {words}", file=sys.stderr)
    sys.exit(3)


def stop(sentence: str) -> NoReturn:
    print(f"unmask: {sentence}", file=sys.stderr)
    raise typer.Exit(2)
