"""A progress bar over tokens, with the time that is left at the speed so far."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TokenProgress:
    """Shows each round of work as it goes; silent when its output is not a terminal."""

    def __init__(self, enabled: bool = True) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} tokens"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not (enabled and sys.stderr.isatty()),
        )
        self._round = 0
        self._task: TaskID | None = None

    def __enter__(self) -> TokenProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, tokens: int, done: int) -> None:
        """A round of work begins, part of which may be on disk already."""
        self._round += 1
        self._task = self._progress.add_task(f"round {self._round}", total=tokens, completed=done)

    def advance(self, engine: str, tokens: int) -> None:
        """A batch is on disk."""
        if self._task is not None:
            self._progress.update(self._task, advance=tokens, description=f"round {self._round}, {engine}")
