"""A progress bar over a whole audit, with the time that is left at the speed of each kind of request."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from unmask.report.numbers import duration
from unmask.runner.pace import Pace

if TYPE_CHECKING:
    from unmask.forecasting import Forecast


class Remaining:
    """Reckons what is left of an audit: rounds as they were forecast until they begin, at the pace so far.

    Attributes:
        done: tokens that are answered, or were on disk.
        rounds: how many there will be; those that have begun, where nothing was forecast.
    """

    def __init__(self, forecast: Forecast | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = forecast.pace if forecast else Pace({})
        self._beside = forecast.beside if forecast else 0.0
        self._ahead = [
            _sum((share.kind, share.tokens) for share in shares)
            for shares in (forecast.rounds if forecast else ())
        ]
        self._round: dict[str, float] = {}
        self._begun = self._last = clock()
        self._served = 0.0
        self.done = 0.0
        self.rounds = len(self._ahead)

    @property
    def tokens(self) -> float:
        """Of the whole audit, as far as is known."""
        return self.done + sum(self._left().values())

    def begin(self, tokens: Mapping[str, float], done: Mapping[str, float]) -> None:
        """A round is known, part of which may be on disk already; tokens by kind."""
        if self._ahead:
            self._ahead.pop(0)
        else:
            self.rounds += 1
        self._round = {kind: count - done.get(kind, 0.0) for kind, count in tokens.items()}
        self.done += sum(done.values())
        self._last = self._clock()

    def advance(self, kind: str, tokens: float, seconds: float) -> None:
        """So many tokens of a kind were served in so long."""
        self._pace.learn(kind, tokens, seconds)
        self._round[kind] = max(0.0, self._round.get(kind, 0.0) - tokens)
        self.done += tokens
        self._served += seconds
        self._last = self._clock()

    def seconds(self) -> float | None:
        """Until the end; None where nothing is known of the pace yet.

        What happened since the last batch counts as work on the next one. All other time in which nothing was served
        was loading or statistics, and is taken off what was foreseen for them.
        """
        served = self._pace.seconds(self._left())
        if served is None:
            return None
        idle = max(0.0, self._last - self._begun - self._served)
        beside = max(0.0, self._beside - idle)
        return max(0.0, served + beside - (self._clock() - self._last))

    def _left(self) -> dict[str, float]:
        return _sum(item for work in (self._round, *self._ahead) for item in work.items())


class TokenProgress:
    """Shows how far an audit is; silent when its output is not a terminal."""

    def __init__(self, enabled: bool = True) -> None:
        self._shown = enabled and sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} tokens"),
            TimeElapsedColumn(),
            _TimeLeft(self),
            console=Console(stderr=True),
            disable=not self._shown,
        )
        self._round = 0
        self._task: TaskID | None = None
        self.remaining = Remaining()

    def __enter__(self) -> TokenProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, forecast: Callable[[], Forecast]) -> None:
        """An audit begins; `forecast` is asked only where a bar is shown."""
        if self._task is not None:
            self._progress.stop_task(self._task)
        self._round, self._task = 0, None
        self.remaining = Remaining(forecast() if self._shown else None)

    def begin(self, tokens: Mapping[str, float], done: Mapping[str, float]) -> None:
        """A round of work begins, part of which may be on disk already."""
        self.remaining.begin(tokens, done)
        self._round += 1
        if self._task is None:
            self._task = self._progress.add_task("", total=0)
        self._draw("")

    def advance(self, engine: str, kind: str, tokens: float, seconds: float) -> None:
        """A batch is on disk."""
        self.remaining.advance(kind, tokens, seconds)
        self._draw(f", {engine}")

    def _draw(self, at: str) -> None:
        if self._task is not None:
            self._progress.update(
                self._task,
                completed=self.remaining.done,
                total=self.remaining.tokens,
                description=f"round {self._round} of {self.remaining.rounds}{at}",
            )


class _TimeLeft(ProgressColumn):
    max_refresh = 0.5

    def __init__(self, bar: TokenProgress) -> None:
        super().__init__()
        self._bar = bar

    def render(self, task: Task) -> Text:
        seconds = None if task.finished_time else self._bar.remaining.seconds()
        return Text("" if seconds is None else f"about {duration(seconds)} left", "progress.remaining")


def _sum(parts: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Tokens by kind."""
    total: dict[str, float] = {}
    for kind, tokens in parts:
        total[kind] = total.get(kind, 0.0) + tokens
    return total
