"""What an audit would cost and what it could find, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unmask.report.numbers import duration, number
from unmask.report.words import humanise

if TYPE_CHECKING:
    from unmask.planning import Plan
    from unmask.verdict.findings import Effect
    from unmask.verdict.foresight import Foreseen


_WORK = {"Look": "read and score", "Generate": "write answers", "Classify": "sort answers"}


def print_plan(plan: Plan, console: Console) -> None:
    """Print a plan: what is asked, what it takes, what its sample could find."""
    work = plan.work
    requests, tokens = sum(share.requests for share in work), sum(share.tokens for share in work)
    console.print(Text(f"{plan.pair['base']} → {plan.pair['aligned']}, {plan.profile}", "dim"))
    console.print(
        Text.assemble(
            (f"About {_about(plan.seconds)}. ", "bold"),
            f"{requests:,} requests in {len(plan.forecast.rounds)} rounds, {tokens:,} tokens.",
        )
    )
    console.print()
    table = Table("engine", "work", box=None, header_style="dim", pad_edge=False)
    for heading in ("requests", "tokens", "time"):
        table.add_column(heading, justify="right")
    for share in work:
        seconds = plan.forecast.seconds(share)
        table.add_row(
            share.engine,
            _WORK.get(share.kind, share.kind.lower()),
            f"{share.requests:,}",
            f"{share.tokens:,}",
            duration(seconds),
        )
    table.add_row("loading, statistics, report", "", "", "", duration(plan.forecast.beside), style="dim")
    console.print(table)
    console.print()
    activations = max((share.memory for share in work), default=0)
    console.print(
        f"Disk: {_bytes(sum(share.disk for share in work))} of records. Memory: {_bytes(plan.weight_bytes)} for one "
        f"model's weights ({plan.dtype}; both are held where there is room)"
        + (f" and up to {_bytes(activations)} of activations." if activations else ".")
    )
    pace = (
        "as earlier runs on this machine had it"
        if plan.forecast.known
        else "guessed from a matmul on this machine; a first run will tell"
    )
    console.print(f"The pace is {pace}. What a run's folder holds already is not asked again.")
    for name, foreseen in plan.foreseen.items():
        console.print()
        _print_foreseen(plan, name, foreseen, console)
    for failure in plan.failures:
        console.print(Text(f"✕ {failure['measurement']} would fail: {failure['message']}", "red"))


def _print_foreseen(plan: Plan, domain: str, foreseen: Iterable[Foreseen], console: Console) -> None:
    """One line a bar that has a width; what is counted has none."""
    found = [one for one in foreseen if one.detectable is not None]
    if not found:
        return
    console.print(
        f"What this sample finds in 80 of 100 draws ({domain}), if the pair scatters as {plan.spreads.pair} did:"
    )
    table = Table("claim", "number", "finds", "rules out", box=None, header_style="dim", pad_edge=False)
    shown: set[tuple[str, str]] = set()
    last = ""
    for one in found:
        assert one.detectable is not None
        if (one.claim, one.quantity) in shown:
            continue  # the other end of a range that the first bar names
        shown.add((one.claim, one.quantity))
        inwards, outwards = ("≤", "≥") if one.bar.startswith(("<", "within")) else ("≥", "≤")
        both = "±" if "±" in one.bar else ""
        table.add_row(
            "" if one.claim == last else one.claim,
            humanise(one.quantity),
            _from(one.detectable.supports, f"{inwards} {both}") or "nothing",
            _from(one.detectable.refutes, f"{outwards} {both}"),
        )
        last = one.claim
    console.print(table)


def _from(effect: Effect | None, sign: str) -> str:
    return "" if effect is None else f"{sign}{number(effect.start)}"


def _about(seconds: float) -> str:
    """A time to plan by: "40 s", "4 min", "1.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds / 5)) * 5} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bytes(count: float) -> str:
    """ "181 MB", "16.1 GB"."""
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
