"""Tables as the page carries them: once, as JSON, drawn when a reader opens them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from unmask.report.charts.style import thin

MAX_ROWS = 2_000
DIGITS = 6

DESCRIPTIONS: Mapping[str, str] = {
    "surface.stances": "stance of every scored answer",
    "surface.summary": "lean, intensity and spread by read-out",
    "surface.rates": "share of answers by label",
    "surface.answers": "sampled answers with the judge's label",
    "surface.judge_card": "the judge's confusion on labelled text",
    "structure.transfer": "AUC by transfer and layer, beside bag of words and chance",
    "structure.excess": "AUC above words by transfer",
    "structure.cross": "AUC of probes carried between the models",
    "structure.geometry": "similarity of the models' directions by layer",
    "structure.figures": "named people: known score and projection",
    "variance.projections": "projection of every open question",
    "variance.specificity": "log σ-ratio of this, unrelated and random axes",
    "variance.classes": "spread within and between the poles",
    "causality.curves": "stance and perplexity by arm and dose",
    "causality.gains": "slope of the stance margin over all doses, by arm",
    "causality.by_layer": "the concept's gain by steered layer, beside chance",
    "causality.ablation": "size of the stance margin's change when a direction is taken out",
    "causality.patching": "share of the gap that base's component closes, by layer and prompt tokens",
    "causality.texts": "text under steering",
    "features.latents": "latents that carry the concept: where they fire and what clamping them does",
    "features.contexts": "texts in which each fires most, and its code on every token",
    "features.decomposition": "what each part of the code gives the direction",
    "features.fit": "what the dictionary, and a random one, keep of either model",
    "features.silence": "share of latents silenced, beside latents that fire as often and a random dictionary",
    "features.curves": "stance by dose: latents clamped, the direction, random latents",
    "features.gains": "slope of the stance margin over all doses, by arm",
    "features.ablation": "the stance margin's mean and spread with latents or direction taken out",
    "features.crosscoder": "latents of the crosscoder by the model they write into",
    "reactivation.cells": "mean stance by asker and request",
    "reactivation.swings": "swing by asker and request",
    "reactivation.facts": "shift of fact answers by request",
    "reactivation.answers": "answers by asker and request",
}


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        key: "partisan/surface.summary".
        name: "surface.summary".
        describes: what its rows are, in words; empty for a third party's.
        rows: how many it has; the page carries at most 2,000 of them.
        data: `{"columns": […], "rows": [[…]]}`, numbers to six significant digits.
    """

    key: str
    name: str
    describes: str
    rows: int
    data: Mapping[str, object]

    @property
    def cut(self) -> bool:
        """Whether the page carries only a part of the rows."""
        return self.rows > MAX_ROWS


def page_table(key: str, frame: pd.DataFrame) -> Table:
    """Prepare a table for the page; a long one is thinned evenly."""
    name = key.rpartition("/")[2]
    kept = thin(frame, MAX_ROWS)
    columns = [_cells(kept[column]) for column in kept.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    data = {"columns": [str(column) for column in kept.columns], "rows": rows}
    return Table(key, name, DESCRIPTIONS.get(name, ""), len(frame), data)


def _cells(column: pd.Series) -> list[object]:
    return [_cell(value) for value in column.tolist()]


def _cell(value: object) -> object:
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return _joined(value)
    return None if value is None or value is pd.NA or value is pd.NaT else str(value)


def _joined(values: Sequence[object]) -> str:
    """A list as one cell: tokens as the text that they make, numbers with a space between."""
    if all(isinstance(value, str) for value in values):
        return "".join(str(value) for value in values)
    return " ".join("–" if (cell := _cell(value)) is None else f"{cell}" for value in values)
