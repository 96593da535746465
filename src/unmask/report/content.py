"""What the page says about one domain: the findings and tables of a run put in reading order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from unmask.report import examples
from unmask.report.charts import Figure, figures
from unmask.report.latents import Latent, latents
from unmask.report.numbers import finite, listed
from unmask.report.strips import Strip, strip
from unmask.report.tables import Table, page_table
from unmask.report.words import AXES, CORE, KINDS, MEASUREMENTS, Axis, question

Record = Mapping[str, Any]


@dataclass(frozen=True)
class NumberedFigure:
    """A figure with its number within the domain and the id of its place on the page.

    Attributes:
        full: whether it takes the page's width: several panels do, and one that no other would stand beside.
    """

    number: int
    anchor: str
    figure: Figure
    full: bool


@dataclass(frozen=True)
class FindingView:
    """A finding, its strips (one a bar, the headline first), the figures that stand with it and those that stand
    elsewhere but bear on it."""

    record: Record
    anchor: str
    strips: tuple[tuple[Record, Strip], ...]
    figures: tuple[NumberedFigure, ...]
    see_also: tuple[NumberedFigure, ...]


@dataclass(frozen=True)
class Group:
    """One measurement's part of the page.

    Attributes:
        state: "done", "failed", or "absent" for one that every audit of the kind has and this one does not.
        figures: those that belong to no finding.
    """

    name: str
    question: str
    anchor: str
    state: str
    message: str
    notes: tuple[str, ...]
    findings: tuple[FindingView, ...]
    figures: tuple[NumberedFigure, ...]


@dataclass(frozen=True)
class AxisView:
    """An axis of the depth profile; value is None where there is none, and `absence` says why."""

    axis: Axis
    absence: str
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class DomainView:
    """Everything the page says about one domain."""

    name: str
    anchor: str
    title: str
    poles: Mapping[str, str]
    kinds: Mapping[str, str]
    topics: Mapping[str, int]
    verdict: Record
    sure: str
    untested: str
    axes: tuple[AxisView, ...]
    groups: tuple[Group, ...]
    latents: Sequence[Latent]
    cards: Sequence[examples.Card]
    cards_in_all: int
    steered: Sequence[examples.Ladder]
    reactivated: Sequence[examples.Ladder]
    tables: tuple[Table, ...]


def slug(*parts: str) -> str:
    """An id for the page from names that may hold anything."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", "-".join(parts))


def domain_view(run: Record, result: Record, tables: Mapping[str, pd.DataFrame]) -> DomainView:
    """Put one domain's result in reading order.

    Args:
        run: run.json.
        result: one entry of `results` in findings.json.
        tables: the run's tables, this domain's or others'.
    """
    name = str(result["domain"])
    described = next((d for d in run.get("domains", ()) if d["name"] == name), {})
    poles = {
        pole: str(described.get("poles", {}).get(pole, {}).get("label", f"pole {pole.upper()}"))
        for pole in "ab"
    }
    kinds = {**poles, **KINDS}
    own = {key.removeprefix(f"{name}/"): frame for key, frame in tables.items() if key.startswith(f"{name}/")}
    groups = _groups(name, result, own, kinds)
    axes = tuple(_axis(axis, result) for axis in AXES)
    cards, cards_in_all = examples.answer_cards(_of("surface", own))
    return DomainView(
        name=name,
        anchor=slug(name),
        title=str(described.get("title", name)),
        poles=poles,
        kinds=kinds,
        topics=described.get("topics", {}),
        verdict=result["verdict"],
        sure=how_sure(result),
        untested=not_tested(axes, groups),
        axes=axes,
        groups=groups,
        latents=latents(_of("features", own)),
        cards=cards,
        cards_in_all=cards_in_all,
        steered=examples.steered(_of("causality", own)),
        reactivated=examples.reactivated(_of("reactivation", own), poles),
        tables=tuple(page_table(f"{name}/{key}", own[key]) for key in sorted(own, key=_reading_order)),
    )


def how_sure(result: Record) -> str:
    """What the verdict rests on, in a sentence or two."""
    findings: Sequence[Record] = result["findings"]
    settled = sum(finding["status"] != "inconclusive" for finding in findings)
    count = f"{settled} of {len(findings)} claims are settled."
    because = result["verdict"].get("because") or ()
    if not because:
        return f"No verdict is drawn. {count}" if findings else "No claim was judged."
    rests = "one claim" if len(because) == 1 else f"{len(because)} claims"
    each = "its" if len(because) == 1 else "each one's"
    return (
        f"Rests on {rests}: {each} 95 % interval lies wholly on one side of the bar, and every control "
        f"passed. {count}"
    )


def not_tested(axes: Sequence[AxisView], groups: Sequence[Group]) -> str:
    """What was left out, in a sentence or two; empty when nothing was."""
    sentences: list[str] = []
    without = [view for view in axes if view.value is None]
    absent = [view.axis.title.lower() for view in without if view.absence == "not measured"]
    if absent:
        sentences.append(
            f"Of the depth profile, {listed(absent)} {'was' if len(absent) == 1 else 'were'} not measured."
        )
    lacking = [view.axis.title for view in without if view.absence != "not measured"]
    if lacking:
        sentences.append(f"{listed(lacking)}: base itself has too little of it to compare with.")
    failed = [group.name for group in groups if group.state == "failed"]
    if failed:
        sentences.append(f"{listed(failed).capitalize()} failed and says nothing.")
    missing = [group.name for group in groups if group.state == "absent"]
    if missing:
        sentences.append(f"Not run: {listed(missing)}.")
    return " ".join(sentences)


def _axis(axis: Axis, result: Record) -> AxisView:
    entry: Record = (result.get("profile_axes") or {}).get(axis.name) or {}
    return AxisView(
        axis, axis.absence(result["findings"]), *(finite(entry.get(key)) for key in ("value", "low", "high"))
    )


def _of(measurement: str, own: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    prefix = f"{measurement}."
    return {key.removeprefix(prefix): frame for key, frame in own.items() if key.startswith(prefix)}


def _reading_order(key: str) -> tuple[int, str]:
    measurement = key.partition(".")[0]
    known = list(MEASUREMENTS)
    return (known.index(measurement) if measurement in known else len(known), key)


def _groups(
    domain: str, result: Record, own: Mapping[str, pd.DataFrame], kinds: Mapping[str, str]
) -> tuple[Group, ...]:
    findings: Sequence[Record] = result["findings"]
    failures = {failure["measurement"]: str(failure["message"]) for failure in result.get("failures") or ()}
    measured = {finding["measurement"] for finding in findings} | {key.partition(".")[0] for key in own}
    expected = set(CORE) if result.get("family", "mask") == "mask" else set()
    groups: list[Group] = []
    count = 0
    for name in sorted(expected | measured | set(failures), key=_reading_order):
        drawn: list[NumberedFigure] = []
        for figure in figures(name, _of(name, own), kinds):
            count += 1
            several = len(figure.panels) > 1
            drawn.append(NumberedFigure(count, slug(domain, name, figure.name), figure, several))
        mine = [finding for finding in findings if finding["measurement"] == name]
        ids = {finding["id"] for finding in mine}
        homes = {
            item.anchor: next((id_ for id_ in item.figure.findings if id_ in ids), None) for item in drawn
        }
        groups.append(
            Group(
                name=name,
                question=question(name),
                anchor=slug(domain, name),
                state="failed" if name in failures else "done" if name in measured else "absent",
                message=failures.get(name, ""),
                notes=tuple(
                    note["note"] for note in result.get("notes") or () if note["measurement"] == name
                ),
                findings=tuple(_finding(domain, finding, drawn, homes) for finding in mine),
                figures=_laid_out([item for item in drawn if homes[item.anchor] is None]),
            )
        )
    return tuple(groups)


def _laid_out(items: Sequence[NumberedFigure]) -> tuple[NumberedFigure, ...]:
    """Figures stand in twos; one left over before a wide one, or at the end, is made wide."""
    laid: list[NumberedFigure] = []
    waiting = False
    for i, item in enumerate(items):
        last_of_run = i + 1 == len(items) or items[i + 1].full
        alone = not item.full and not waiting and last_of_run
        waiting = not item.full and not waiting and not last_of_run
        laid.append(replace(item, full=item.full or alone))
    return tuple(laid)


def _finding(
    domain: str, finding: Record, drawn: Sequence[NumberedFigure], homes: Mapping[str, str | None]
) -> FindingView:
    null = finding.get("null") or {}
    id_ = finding["id"]
    return FindingView(
        record=finding,
        anchor=slug(domain, id_),
        strips=tuple(
            (bar, strip(bar, null["q95"] if null.get("of") == bar["quantity"] else None))
            for bar in finding["bars"]
        ),
        figures=_laid_out([item for item in drawn if homes[item.anchor] == id_]),
        see_also=tuple(item for item in drawn if homes[item.anchor] != id_ and id_ in item.figure.findings),
    )
