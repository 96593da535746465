"""The summary a run ends with: the verdict, every finding with its bar, how deep the change goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from unmask.report.content import Record, how_sure
from unmask.report.numbers import finite, interval, listed, number
from unmask.report.words import AXES, STATUS_ICONS, humanise

_STYLES = {"supported": "bold", "refuted": "", "inconclusive": "dim"}
_BAR_WIDTH = 24


def print_summary(
    run: Mapping[str, Any], findings: Mapping[str, Any], console: Console, report_path: Path | str
) -> None:
    """Print a run's result.

    Args:
        run: run.json.
        findings: findings.json.
        console: where to; one without colour or terminal gets the same words plain.
        report_path: where the full report is.
    """
    pair = findings.get("pair") or run.get("pair") or {}
    titles = {domain["name"]: domain.get("title", domain["name"]) for domain in run.get("domains", ())}
    for result in findings["results"]:
        console.print()
        _verdict(console, pair, str(titles.get(result["domain"], result["domain"])), result)
        if result["findings"]:
            _findings(console, result["findings"])
        for failure in result.get("failures") or ():
            console.print(Text(f"✕ {failure['measurement']} failed: {failure['message']}", "red"))
        console.print()
        _profile(console, result)
    console.print()
    if note := (run.get("frame") or {}).get("note"):
        console.print(Text(str(note), "dim"))
    console.print(Text.assemble("Full report: ", (str(report_path), "bold")), soft_wrap=True)


def _verdict(console: Console, pair: Record, title: str, result: Record) -> None:
    verdict = result["verdict"]
    console.print(Text(f"{pair.get('base', '?')} → {pair.get('aligned', '?')}, {title}", "dim"))
    console.print(Text.assemble((f"{str(verdict['label']).capitalize()}. ", "bold"), verdict["sentence"]))
    if verdict.get("mechanisms"):
        console.print(Text(f"How: {listed(verdict['mechanisms'])}."))
    if verdict.get("blocked_by"):
        console.print(Text("In the way:"))
        for block in verdict["blocked_by"]:
            console.print(Padding(Text(block), (0, 0, 0, 2)))
    console.print(Text(how_sure(result), "dim"))
    console.print()


def _findings(console: Console, findings: Sequence[Record]) -> None:
    """One line a finding; what blocks an inconclusive one stands on a line beneath it."""
    widest = max(len(finding["id"]) for finding in findings)
    console.print(Text(f"{'finding':<{widest}}  {'status':<14}  estimate  {'interval':<14}  bar", "dim"))
    for finding in findings:
        status = finding["status"]
        style = _STYLES.get(status, "")
        bar = finding["bars"][0] if finding["bars"] else {}
        numbers = f"{number(finding.get('estimate')):>8}  {interval(*(finding.get('interval') or (None, None))):<14}"
        console.print(
            Text.assemble(
                (f"{finding['id']:<{widest}}", style),
                "  ",
                (f"{STATUS_ICONS.get(status, '?')} {status:<12}", style),
                f"  {numbers}  {str(bar.get('bar', '')).replace('-', '−')}",
            )
        )
        if status == "inconclusive" and (why := blocks(finding)):
            console.print(Padding(Text(why, "dim"), (0, 0, 0, 4)))


def blocks(finding: Record) -> str:
    """What keeps a finding from being settled, in a few words; empty where nothing of its own does."""
    for control in finding["controls"]:
        if not control["passed"]:
            bar = str(control["bar"]).replace("-", "−")
            if finite(control["value"]) is None:
                return f"{humanise(control['name'])} was not measured"
            return f"{humanise(control['name'])} is {number(control['value'])}, needs {bar}"
    for bar in finding["bars"]:
        if bar["side"] == "undecided":
            if finite(bar["value"]) is None:
                return f"{humanise(bar['quantity'])} was not measured"
            return f"{humanise(bar['quantity'])} reaches across its bar"
    return ""


def _profile(console: Console, result: Record) -> None:
    """How deep the change goes, one bar an axis."""
    widest = max(len(axis.title) for axis in AXES)
    ends = f"{'0 nothing beneath':<{_BAR_WIDTH - 6}}deep 1"
    console.print(Text(f"{'depth':<{widest}}  {ends}", "dim"))
    for axis in AXES:
        name = f"{axis.title.lower():<{widest}}  "
        entry: Record = (result.get("profile_axes") or {}).get(axis.name) or {}
        value = finite(entry.get("value"))
        if value is None:
            console.print(Text(f"{name}{axis.absence(result['findings'])}", "dim"))
            continue
        filled = round(_BAR_WIDTH * min(max(value, 0.0), 1.0))
        ends = f"  {number(value):>5}  {interval(entry.get('low'), entry.get('high'))}"
        console.print(Text.assemble(name, "█" * filled, ("·" * (_BAR_WIDTH - filled), "dim"), ends))
