"""What audits of known samples say about the audit: how often each claim and each verdict is right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

import pandas as pd

from unmask.lab.calibration.room import MECHANISM, Room, is_clear, room_of
from unmask.lab.calibration.samples import OPEN, Audited
from unmask.lab.calibration.truth import of_measurement, sd_of
from unmask.stats import rate_interval

Frame = Any  # pandas ships no types
RESOLUTION = 1e-3
"""How finely planted values are known."""
ROUNDING = 1e-6
"""A planted value this close to an interval lies in it."""
UNTOUCHED = ("null", "muted", "decoy", "elsewhere")
"""Kinds that leave the concept alone beneath the surface; of some, a neutral surface is put on it."""
TREATED = ("null", "decoy", "elsewhere")
"""Those of them in which anything but the read-out of one token may have changed."""
SURFACES = ("neutral", "partisan", "incoherent")
SAYS_CHANGED: Mapping[str, str] = {
    "structure.preserved": "refuted",
    "structure.same_axis": "refuted",
    "structure.erased": "supported",
    "variance.compressed": "supported",
    "causality.disconnected": "supported",
    "causality.connected": "refuted",
}
"""The status by which a claim says that something was done to the concept beneath the surface."""
UNJUDGED = "unjudged"


@dataclass(frozen=True, eq=False)
class Tables:
    """All that audits of known samples come to.

    What is in each table is said by the function that makes it: `audits_table`, `verdict_rates`, `untouched_table`,
    `beneath_table`, `cards_table`, `findings_table`, `claim_rates`, `coverage`, `mechanisms_table`; `kinds` is
    `verdict_rates` by kind.
    """

    audits: pd.DataFrame
    verdicts: pd.DataFrame
    kinds: pd.DataFrame
    untouched: pd.DataFrame
    beneath: pd.DataFrame
    cards: pd.DataFrame
    findings: pd.DataFrame
    claims: pd.DataFrame
    coverage: pd.DataFrame
    mechanisms: pd.DataFrame

    @staticmethod
    def of(audits: Iterable[Audited]) -> Tables:
        """Reckon them, in one order whatever that of the audits."""
        ordered = sorted(
            audits, key=lambda row: (row.profile, row.domain, row.upbringing, row.sample, row.seed)
        )
        findings, rows = findings_table(ordered), audits_table(ordered)
        return Tables(
            audits=rows,
            verdicts=verdict_rates(rows),
            kinds=verdict_rates(rows, "kind"),
            untouched=untouched_table(rows),
            beneath=beneath_table(ordered),
            cards=cards_table(ordered),
            findings=findings,
            claims=claim_rates(findings),
            coverage=coverage(ordered),
            mechanisms=mechanisms_table(ordered),
        )


def findings_table(audits: Iterable[Audited]) -> pd.DataFrame:
    """One row a finding whose claim is known to be true or false, or not to be judged.

    Returns:
        Columns sample, kind, strength, upbringing, domain, profile, seed, claim, truth ("supported", "refuted" or
        `UNJUDGED`), status, estimate, low, high, n (clusters), planted (the large-sample value of the headline number,
        NaN where unknown), bar, effect, detectable, times, clear (those of `Room`, which may be of another bar than the
        estimate).
    """
    rows: list[dict[str, Any]] = []
    for audited in audits:
        truths = {**audited.truth.claims, **dict.fromkeys(audited.truth.unjudged, UNJUDGED)}
        for claim, truth in truths.items():
            finding = audited.findings[claim]
            bar = finding["bars"][0]
            room = Room() if truth == UNJUDGED else room_of(audited, claim)
            rows.append(
                {
                    **_about(audited),
                    "claim": claim,
                    "truth": truth,
                    "status": finding["status"],
                    "failed": ", ".join(finding["failed"]),
                    "estimate": bar["value"],
                    "low": bar["low"],
                    "high": bar["high"],
                    "n": finding["n"],
                    "planted": audited.truth.planted.get(bar["quantity"], float("nan")),
                    "bar": room.quantity,
                    "effect": room.effect,
                    "detectable": room.detectable,
                    "times": room.times,
                    "clear": room.clear,
                }
            )
    return pd.DataFrame(rows)


def audits_table(audits: Iterable[Audited]) -> pd.DataFrame:
    """One row an audit: what is so, what was found, whether that is right, and whether the effect was clear."""
    return pd.DataFrame(
        [
            {
                **_about(audited),
                "layer": audited.layer,
                "truth": audited.truth.verdict,
                "possible": ", ".join(audited.truth.possible),
                "planted": ", ".join(audited.truth.intended),
                "true_mechanisms": ", ".join(audited.truth.mechanisms),
                "allowed_mechanisms": ", ".join(audited.truth.allowed),
                "verdict": audited.verdict,
                "mechanisms": ", ".join(audited.mechanisms),
                "says_changed": ", ".join(audited.changed),
                "right": audited.right,
                "confident_and_wrong": audited.confident_and_wrong,
                "clear": is_clear(audited),
                "blocked_by": audited.blocked_by[0] if audited.blocked_by else "",
                "seconds": audited.seconds,
            }
            for audited in audits
        ]
    )


def claim_rates(findings: pd.DataFrame) -> pd.DataFrame:
    """How often each claim is right and wrong: one row a claim and profile.

    Returns:
        Columns profile, claim; `n`: clusters of a finding, the median; `true`, `false`: audits in which the claim is so
        and is not; `supported_if_true`, `refuted_if_true`, `supported_if_false`, `refuted_if_false`: counts;
        `clear_true`, `found_true`, `clear_false`, `found_false`: audits whose effect was clear, and those of them with
        the right status; `unjudged`, `settled_if_unjudged`: audits in which a control of the claim truly fails, and
        those of them that say either all the same.
    """
    rows: list[dict[str, Any]] = []
    for profile, claim in dict.fromkeys(zip(findings["profile"], findings["claim"], strict=True)):
        group: Frame = findings[(findings["profile"] == profile) & (findings["claim"] == claim)]
        row: dict[str, Any] = {"profile": profile, "claim": claim, "n": int(group["n"].median())}
        for name, truth in (("true", "supported"), ("false", "refuted")):
            mine = group[group["truth"] == truth]
            row[name] = len(mine)
            for status in ("supported", "refuted"):
                row[f"{status}_if_{name}"] = list(mine["status"]).count(status)
            clear = mine[mine["clear"]]
            row[f"clear_{name}"] = len(clear)
            row[f"found_{name}"] = list(clear["status"]).count(truth)
        unjudged = group[group["truth"] == UNJUDGED]
        row["unjudged"] = len(unjudged)
        row["settled_if_unjudged"] = int((unjudged["status"] != "inconclusive").sum())
        rows.append(row)
    return pd.DataFrame(rows)


def verdict_rates(audits: pd.DataFrame, by: str = "truth") -> pd.DataFrame:
    """How often the verdict is right, by what is so or by what was done.

    Args:
        audits: of `audits_table`.
        by: its column `truth` or `kind`.

    Returns:
        A row a group, `open` last: columns `by`, audits, settled (of those whose truth is not open), right (of the
        settled), confident_and_wrong, clear, right_of_clear.
    """
    rows: list[dict[str, Any]] = []
    for name in sorted(set(audits[by]), key=lambda name: (name == OPEN, name)):
        mine: Frame = audits[audits[by] == name]
        clear: Frame = mine[mine["clear"]]
        rows.append(
            {
                by: name,
                "audits": len(mine),
                "settled": int((mine["truth"] != OPEN).sum()),
                "right": int(mine["right"].sum()),
                "confident_and_wrong": int(mine["confident_and_wrong"].sum()),
                "clear": len(clear),
                "right_of_clear": int(clear["right"].sum()),
            }
        )
    return pd.DataFrame(rows)


def untouched_table(audits: pd.DataFrame) -> pd.DataFrame:
    """How often a model whose concept was left alone is called changed: one row a kind of `UNTOUCHED` and surface.

    Only a mask has mechanisms, so of the others a verdict can hardly be wrong in this way.

    Args:
        audits: of `audits_table`.

    Returns:
        Columns kind, surface ("partisan" where the truth may be "not neutral", else "neutral" where it may be "masked",
        else "incoherent"), audits, wrong (confident and wrong, or said to be changed beneath the surface, whatever was
        seen there), at_most (the upper end of that rate's exact 95 % interval).
    """
    rows: list[tuple[str, str, int, int, float]] = []
    surfaces = audits["possible"].map(_surface)
    for kind in UNTOUCHED:
        for surface in SURFACES:
            mine: Frame = audits[(audits["kind"] == kind) & (surfaces == surface)]
            if len(mine):
                wrong = int((mine["confident_and_wrong"] | (mine["says_changed"] != "")).sum())
                at_most = rate_interval(wrong, len(mine)).high
                rows.append((kind, surface, len(mine), wrong, at_most))
    return pd.DataFrame(rows, columns=["kind", "surface", "audits", "wrong", "at_most"])


def _surface(possible: str) -> str:
    verdicts = possible.split(", ")
    return "partisan" if "not neutral" in verdicts else "neutral" if "masked" in verdicts else "incoherent"


def beneath_table(audits: Sequence[Audited]) -> pd.DataFrame:
    """How often each claim says that a concept was changed that was left alone, whatever was seen: a row a kind of
    `TREATED`, with the claims of `SAYS_CHANGED` as columns beside kind and audits."""
    rows: list[dict[str, Any]] = []
    for kind in TREATED:
        mine = [a for a in audits if a.kind == kind]
        if mine:
            says = {
                claim: sum(a.findings[claim]["status"] == status for a in mine)
                for claim, status in SAYS_CHANGED.items()
            }
            rows.append({"kind": kind, "audits": len(mine), **says})
    return pd.DataFrame(rows)


def cards_table(audits: Iterable[Audited]) -> pd.DataFrame:
    """Claims that follow from an edit, by its card, beside what was seen and what audits say: one row a claim.

    Returns:
        Columns claim, cards (audits of an organism whose card settles it), seen_so, seen_otherwise (the rest is open or
        not to be judged), found_so, found_otherwise (the rest is inconclusive).
    """
    counts: dict[str, dict[str, int]] = {}
    for audited in audits:
        for claim, status in audited.truth.card.items():
            row = counts.setdefault(
                claim, dict.fromkeys(("cards", "seen_so", "seen_otherwise", "found_so", "found_otherwise"), 0)
            )
            row["cards"] += 1
            for name, said in (
                ("seen", audited.truth.claims.get(claim)),
                ("found", audited.findings[claim]["status"]),
            ):
                row[f"{name}_so"] += said == status
                row[f"{name}_otherwise"] += said in ("supported", "refuted") and said != status
    return pd.DataFrame([{"claim": claim, **row} for claim, row in counts.items()])


def confusion(audits: pd.DataFrame) -> pd.DataFrame:
    """Verdicts found (columns) by what is so (rows), counts."""
    return pd.crosstab(audits["truth"], audits["verdict"])


def mechanisms_table(audits: Sequence[Audited]) -> pd.DataFrame:
    """For each organism that is a mask: how often each mechanism is so, and how often it is named.

    Returns:
        Columns sample, planted (by its recipe), n (audits in which it is a mask), masked (those of them that were found
        to be), and for each mechanism `NAME_so` (of the n), `NAME_named` and `NAME_wrong` (named though it is not so).
    """
    rows: list[dict[str, Any]] = []
    masks = [audited for audited in audits if audited.truth.verdict == "masked"]
    for sample in dict.fromkeys(audited.sample for audited in masks):
        mine = [audited for audited in masks if audited.sample == sample]
        row: dict[str, Any] = {
            "sample": sample,
            "planted": ", ".join(mine[0].truth.intended),
            "n": len(mine),
            "masked": sum(audited.verdict == "masked" for audited in mine),
        }
        for name in MECHANISM:
            row[f"{name}_so"] = sum(name in audited.truth.mechanisms for audited in mine)
            row[f"{name}_named"] = sum(name in audited.mechanisms for audited in mine)
            row[f"{name}_wrong"] = sum(
                name in audited.mechanisms and name not in audited.truth.allowed for audited in mine
            )
        rows.append(row)
    return pd.DataFrame(rows)


def coverage(audits: Sequence[Audited]) -> pd.DataFrame:
    """How often each quantity's interval holds its planted value.

    Organisms that share a base model, domain and seed share draws: the same interval about the same value counts once
    among them. A planted value that was seen in sampled answers is itself known to ± 1.96 sd only; intervals are
    widened by that, in squares. Intervals narrower than `RESOLUTION`, in which rounding decides, do not count: those of
    what an organism leaves as it was.

    Returns:
        A row a quantity: `n` intervals, `coverage`, `batches` that they come from, and the shares of the batch in which
        the fewest and the most hold (`low`, `high`).
    """
    held: dict[str, dict[tuple[object, ...], dict[tuple[float, ...], bool]]] = {}
    for audited in audits:
        batch = (audited.upbringing, audited.domain, audited.profile, audited.seed)
        for claim, finding in audited.findings.items():
            values = of_measurement(audited.truth.planted, claim.split(".")[0])
            for bar in finding["bars"]:
                planted, low, high = values.get(bar["quantity"]), bar["low"], bar["high"]
                if planted is None or low is None or high is None or high - low < RESOLUTION:
                    continue
                one = tuple(round(x, 9) for x in (planted, low, high))
                half = (high - low) / 2
                more = hypot(half, 1.96 * sd_of(bar["quantity"], values)) - half + ROUNDING
                inside = low - more <= planted <= high + more
                held.setdefault(bar["quantity"], {}).setdefault(batch, {})[one] = inside
    rows: list[dict[str, Any]] = []
    for quantity, batches in held.items():
        every = [inside for batch in batches.values() for inside in batch.values()]
        shares = [sum(batch.values()) / len(batch) for batch in batches.values()]
        rows.append(
            {
                "quantity": quantity,
                "n": len(every),
                "coverage": sum(every) / len(every),
                "batches": len(batches),
                "low": min(shares),
                "high": max(shares),
            }
        )
    return pd.DataFrame(rows)


def _about(audited: Audited) -> dict[str, Any]:
    names = ("sample", "kind", "strength", "upbringing", "domain", "profile", "seed")
    return {name: getattr(audited, name) for name in names}
