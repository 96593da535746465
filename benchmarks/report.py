"""Outcomes as Markdown: for the terminal, and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.results import Limit, Outcome, Ratio, Sample

HEAD = """# Benchmarks: the last full run

Written by `make bench`; do not edit it. What the numbers mean, and where the time went wherever a bar was missed, is
in [NOTES.md](NOTES.md). Programs run one after the other, round after round, each in a process of its own, with the
same texts, weights, dtype and threads on both sides; loading and one warm-up are left out of the time.
"""


def render(outcomes: Sequence[Outcome], machine: Mapping[str, str], rounds: int) -> str:
    """What RESULTS.md holds below its head."""
    parts = [verdict(outcomes), tables(outcomes)]
    parts.append(
        "## The cases\n\n" + "\n".join(f"- **{one.case}**: {one.about}" for one in outcomes if one.about)
    )
    facts = {**machine, "rounds": f"{rounds} of every program"}
    parts.append("## The machine\n\n" + table(("", ""), facts.items()))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def verdict(outcomes: Sequence[Outcome]) -> str:
    """How many bars were met, and which were not."""
    judged = [row for outcome in outcomes for row in outcome.rows if row.met is not None]
    missed = [f"- missed: {name(row)}" for row in judged if not row.met]
    failed = [f"- failed: {outcome.case}" for outcome in outcomes if outcome.failed]
    return "\n".join([f"{sum(bool(row.met) for row in judged)} of {len(judged)} bars met.", *missed, *failed])


def tables(outcomes: Sequence[Outcome]) -> str:
    """Ratios, numbers that stand alone, and what failed."""
    ratios = [row for outcome in outcomes for row in outcome.ratios]
    limits = [row for outcome in outcomes for row in outcome.limits]
    parts: list[str] = []
    if ratios:
        head = ("work", "against", "unmask", "the other", "ratio", "bar", "met")
        parts.append(
            "Rates are medians (lowest–highest round); a ratio is that of the medians (lowest–highest round).\n\n"
            + table(head, map(ratio_cells, ratios))
        )
    if limits:
        parts.append(table(("what", "value", "bar", "met"), map(limit_cells, limits)))
    parts += [f"**{one.case} failed**:\n\n```\n{one.failed}\n```" for one in outcomes if one.failed]
    return "\n\n".join(parts)


def name(row: Ratio | Limit) -> str:
    """A row in words."""
    if isinstance(row, Limit):
        return f"{row.what}, {number(row.value)} {row.unit}"
    return f"{row.work}, against {row.against}: {row.value:.2f} ×, bar {row.bar:g} ×"


def ratio_cells(row: Ratio) -> tuple[str, ...]:
    spread = f"{min(row.by_round):.2f}–{max(row.by_round):.2f}"
    bar = "for information" if row.bar is None else f"≥ {row.bar:g} ×"
    return (
        row.work,
        row.against,
        rate(row.ours),
        rate(row.theirs),
        f"**{row.value:.2f} ×** ({spread})",
        bar,
        answer(row.met),
    )


def limit_cells(row: Limit) -> tuple[str, ...]:
    sign = "≥" if row.least else "≤"
    bar = "for information" if row.bar is None else f"{sign} {number(row.bar)} {row.unit}"
    detail = f" ({row.detail})" if row.detail else ""
    return row.what, f"**{number(row.value)}** {row.unit}{detail}", bar, answer(row.met)


def rate(sample: Sample) -> str:
    low, high = number(min(sample.rates)), number(max(sample.rates))
    return f"{number(sample.median)} {sample.unit} ({low}–{high})"


def number(value: float) -> str:
    """Three figures that matter, or all of a large number's."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def answer(met: bool | None) -> str:
    return "" if met is None else "yes" if met else "**no**"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
