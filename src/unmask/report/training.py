"""A line that says how training goes: what is left of the variance, how many latents are active and dead."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from unmask.features.training.recipe import Recipe
from unmask.features.training.trainer import Step


class TrainingProgress:
    """A bar on a terminal, and nothing where output is piped."""

    def __init__(self, recipe: Recipe) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} tokens"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("reading activations", total=recipe.steps * recipe.batch)

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, step: Step) -> None:
        """One batch was learnt from."""
        said = f"variance left {step.fvu:.3f}, active {step.l0:.1f}, dead {step.dead:.0%}"
        self._bar.update(self._task, completed=step.tokens, description=said)
