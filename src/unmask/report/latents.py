"""The latents that carry a concept, one by one: where each fires, and what clamping it does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from unmask.report.charts.style import SIDES, Tables, table
from unmask.report.numbers import finite
from unmask.report.strips import Span

NUMBERS = (
    "difference", "q", "auroc", "cosine", "read_base", "read_aligned", "asked_base", "asked_aligned", "said_base",
    "said_aligned", "bound", "probability", "strength_base", "strength_aligned", "effect_base", "effect_aligned",
    "chance_base", "chance_aligned",
)  # fmt: skip
MAX_CONTEXTS = 6
"""Shown of a latent and side; the page's tables hold more."""
_BREAKS = re.compile("\r\n|[\n\v\f\r\x85\u2028\u2029]")


@dataclass(frozen=True)
class Piece:
    """A stretch of a context.

    Attributes:
        strength: of the context's peak, 0 to 1; 0 for tokens on which the latent is silent, which stand together.
        code: as it is.
        peak: whether it is the context's strongest token.
    """

    text: str
    strength: float = 0.0
    code: float = 0.0
    peak: bool = False


@dataclass(frozen=True)
class Context:
    """A text around a token on which a latent fires; `source` says of what it is."""

    source: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Effect:
    """What clamping does to one side's stance margin; places are in percent of a line that all latents share.

    Attributes:
        value: in nats a token, above 0 towards the latent's pole; None where it was not done.
        at: its place.
        chance: the middle 95 % of random latents.
    """

    value: float | None
    at: float | None
    chance: Span | None


@dataclass(frozen=True)
class Latent:
    """One latent.

    Attributes:
        pole: "a" or "b", the side it fires for.
        state: "silenced", "alive" or "unsure".
        numbers: the columns `NUMBERS` of its row, None where there is none.
        effects: by side.
        contexts: by side, the strongest first.
    """

    number: int
    pole: str
    state: str
    numbers: Mapping[str, float | None]
    effects: Mapping[str, Effect]
    contexts: Mapping[str, tuple[Context, ...]]


def latents(tables: Tables) -> list[Latent]:
    """Every latent that was selected, in the table's order."""
    frame = table(tables, "latents", "latent", "pole", "state")
    if frame is None:
        return []
    contexts = _contexts(tables)
    rows = [(row, {name: finite(row.get(name)) for name in NUMBERS}) for row in frame.to_dict("records")]
    reach = _reach(numbers for _, numbers in rows)
    return [
        Latent(
            number=int(row["latent"]),
            pole=str(row["pole"]),
            state=str(row["state"]),
            numbers=numbers,
            effects={
                side: _effect(numbers[f"effect_{side}"], numbers[f"chance_{side}"], reach) for side in SIDES
            },
            contexts={side: contexts.get((int(row["latent"]), side), ()) for side in SIDES},
        )
        for row, numbers in rows
    ]


def _reach(rows: Iterable[Mapping[str, float | None]]) -> float:
    """The largest number that the lines of effects have to hold."""
    columns = [f"{what}_{side}" for what in ("effect", "chance") for side in SIDES]
    return max((abs(row[column] or 0.0) for row in rows for column in columns), default=0.0) or 1.0


def _effect(value: float | None, chance: float | None, reach: float) -> Effect:
    def place(x: float) -> float:
        return round(50 + 46 * x / reach, 3)

    span = None if chance is None else Span(place(-abs(chance)), round(92 * abs(chance) / reach, 3))
    return Effect(value, None if value is None else place(value), span)


def _contexts(tables: Tables) -> dict[tuple[int, str], tuple[Context, ...]]:
    frame = table(tables, "contexts", "latent", "side", "rank", "source", "tokens", "codes")
    if frame is None:
        return {}
    found: dict[tuple[int, str], tuple[Context, ...]] = {}
    for (latent, side), group in frame.sort_values("rank", kind="stable").groupby(["latent", "side"]):
        found[int(latent), str(side)] = tuple(
            Context(str(row["source"]), pieces(row["tokens"], row["codes"]))
            for row in group.head(MAX_CONTEXTS).to_dict("records")
        )
    return found


def pieces(tokens: Iterable[object], codes: Iterable[object]) -> tuple[Piece, ...]:
    """A context in stretches: silent tokens joined, each firing one by itself, line breaks as ⏎.

    >>> [(piece.text, piece.strength) for piece in pieces(["a", " b", " c"], [0.0, 0.0, 3.0])]
    [('a b', 0.0), (' c', 1.0)]
    """
    strengths = np.nan_to_num(np.asarray([*codes], dtype=float)).clip(min=0.0).tolist()
    most = max(strengths, default=0.0)
    made: list[Piece] = []
    silent = ""
    for token, code in zip(tokens, strengths, strict=False):
        text = _BREAKS.sub("⏎", str(token))
        if not code:
            silent += text
            continue
        if silent:
            made.append(Piece(silent))
            silent = ""
        made.append(Piece(text, round(code / most, 2), code, code == most))
    return (*made, Piece(silent)) if silent else tuple(made)
