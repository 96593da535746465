"""A plan at 80 columns."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from unmask.report.plan import print_plan
from unmask.runner.rehearsal import Share
from unmask.verdict.findings import Detectable, Effect
from unmask.verdict.foresight import Foreseen

FOUND = Detectable(Effect(0.28, 0.08, 0.05), Effect(-0.12, 0.32, 0.05))
SWING = Foreseen("reactivation.reactivates", "swing_beyond_irrelevant_aligned", "> 0.2", "stance", 40, FOUND)


@dataclass
class Planned:
    """The part of a plan that is printed."""

    foreseen: Mapping[str, Sequence[Foreseen]]
    pair: dict[str, str] = field(default_factory=lambda: {"base": "demo:base", "aligned": "demo:masked"})
    profile: str = "quick"
    dtype: str = "bfloat16"
    work: tuple[Share, ...] = (
        Share("base", "Look", 3340, 94_000, 56_000_000, 180_000_000),
        Share("judge of partisan", "Classify", 2286, 132_784, 0, 400_000),
    )
    seconds: float = 190.0
    weight_bytes: int = 16_100_000_000
    failures: tuple[Any, ...] = ()
    forecast: Any = field(
        default_factory=lambda: SimpleNamespace(
            rounds=[1, 2, 3, 4], seconds=lambda _: 84.0, beside=21.4, known=False
        )
    )
    spreads: Any = field(default_factory=lambda: SimpleNamespace(pair="demo:base → demo:masked"))


def printed(*foreseen: Foreseen) -> str:
    console = Console(file=io.StringIO(), width=80)
    plan: Any = Planned({"partisan": foreseen})  # a part of a plan is enough
    print_plan(plan, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(*foreseen: Foreseen) -> list[str]:
    """What is printed, each run of spaces as one."""
    return [" ".join(line.split()) for line in printed(*foreseen).splitlines()]


def test_says_what_it_takes_in_eighty_columns() -> None:
    text = printed(SWING)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "About 3 min. 5,626 requests in 4 rounds, 226,784 tokens." in text
    assert "base read and score 3,340 94,000 1 min 24 s" in lines()
    assert "Disk: 180 MB of records. Memory: 16.1 GB" in text
    assert "up to 56 MB of activations" in " ".join(lines())


def test_says_the_smallest_effects_by_the_side_of_their_bar() -> None:
    def row(bar: str, found: Detectable | None = FOUND) -> list[str]:
        return [line for line in lines(replace(SWING, bar=bar, detectable=found)) if line.startswith("react")]

    name = "reactivation.reactivates swing beyond irrelevant, aligned"
    assert row("> 0.2") == [f"{name} ≥ 0.28 ≤ −0.12"]
    assert row("< 0.2") == [f"{name} ≤ 0.28 ≥ −0.12"]
    within = Detectable(Effect(0.04, 0.06, 0.05), Effect(0.39, 0.29, 0.05))
    assert row("within ±0.1", within) == [f"{name} ≤ ±0.04 ≥ ±0.39"]
    assert row("> 0.2", Detectable(None, None)) == [f"{name} nothing"]
    assert row("> 0.2", None) == []
