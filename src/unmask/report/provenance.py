"""How a run was made, as rows that a person can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.measurements.profiles import ALL
from unmask.report.numbers import MISSING, duration, finite, short

Rows = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class RuleRow:
    """One claim's rule in words."""

    claim: str
    supported: tuple[str, ...]
    refuted: tuple[str, ...]
    controls: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """run.json, sorted for reading; `rest` holds whatever has no place of its own."""

    sides: Mapping[str, Rows]
    settings: Rows
    sizes: Rows
    domains: Sequence[tuple[str, Rows]]
    frame: Mapping[str, Any]
    rules: Sequence[RuleRow]
    timings: Sequence[tuple[str, str, float]]
    command: str
    rest: Rows


_PLACED = {"pair", "resolved", "domains", "profile", "frame", "rules", "timings", "command"}
_SETTINGS = ("unmask", "started", "machine", "device", "gpu", "dtype", "quantised", "seed", "engine")


def provenance(run: Mapping[str, Any]) -> Provenance:
    """Sort run.json for reading."""
    pair, resolved = run.get("pair") or {}, run.get("resolved") or {}
    sides = {
        side: (("reference", str(pair.get(side, MISSING))), *flat(resolved.get(side) or {}))
        for side in ("base", "aligned")
    }
    seconds: Mapping[str, Any] = (run.get("timings") or {}).get("seconds") or {}
    longest = max((finite(value) or 0.0 for value in seconds.values()), default=0.0)
    profile = run.get("profile")
    return Provenance(
        sides=sides,
        settings=flat({key: run[key] for key in _SETTINGS if key in run}),
        sizes=flat(
            _sizes(profile) if isinstance(profile, Mapping) else {"profile": profile} if profile else {}
        ),
        domains=[
            (str(domain.get("title", domain.get("name", ""))), flat(domain))
            for domain in run.get("domains", ())
        ],
        frame=run.get("frame") or {},
        rules=[_rule(claim, rule) for claim, rule in (run.get("rules") or {}).items()],
        timings=[
            (name, duration(value), round(100 * (finite(value) or 0.0) / (longest or 1.0), 2))
            for name, value in seconds.items()
        ],
        command=str(run.get("command", "")),
        rest=flat({key: value for key, value in run.items() if key not in _PLACED and key not in _SETTINGS}),
    )


def without_places(run: Mapping[str, Any]) -> dict[str, Any]:
    """run.json fit to be shared: a domain goes by its folder's name, and no model's folder is told."""
    shown = dict(run)
    if "domains" in run:
        shown["domains"] = [
            {**domain, "reference": Path(str(domain["reference"])).name} if "reference" in domain else domain
            for domain in run["domains"]
        ]
    if "resolved" in run:  # runs of earlier versions hold the folders
        shown["resolved"] = {
            side: {key: value for key, value in found.items() if key != "folder"}
            for side, found in run["resolved"].items()
        }
    return shown


def _sizes(profile: Mapping[str, Any]) -> dict[str, Any]:
    """A profile's sizes, where a size that no domain reaches stands for all that there is."""
    return {key: "all" if isinstance(size, int) and size >= ALL else size for key, size in profile.items()}


def flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows: `{"engine": {"torch": "2.8"}}` → `("engine, torch", "2.8")`."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(item, Mapping):
            rows += flat(item, f"{prefix}{key}, ")
        else:
            rows.append((name, _text(item)))
    return rows


def _text(value: object) -> str:
    if value is None or value == "":
        return MISSING
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)


def _rule(claim: str, rule: Mapping[str, Any]) -> RuleRow:
    bars: Sequence[Mapping[str, Any]] = rule.get("bars") or ()
    guards: Sequence[Mapping[str, Any]] = rule.get("guards") or ()
    signs = {"at least": "≥", "at most": "≤", "above": ">"}
    return RuleRow(
        claim,
        tuple(_bar(bar, bar["at"], supports=True) for bar in bars),
        tuple(
            _bar(bar, bar["at"] if bar.get("refutes_at") is None else bar["refutes_at"], supports=False)
            for bar in bars
            if bar.get("may_refute", True)
        ),
        tuple(
            f"{guard['quantity']} {signs.get(guard['side'], guard['side'])} {short(guard['at'])}"
            f"{', whole interval' if guard.get('strict') else ''}"
            for guard in guards
        ),
    )


def _bar(bar: Mapping[str, Any], at: object, *, supports: bool) -> str:
    words = {
        ("above", True): "> {}",
        ("above", False): "< {}",
        ("below", True): "< {}",
        ("below", False): "> {}",
        ("within", True): "within ±{}",
        ("within", False): "outside ±{}",
    }[bar["side"], supports]
    return f"{bar['quantity']} {words.format(short(at))}"
