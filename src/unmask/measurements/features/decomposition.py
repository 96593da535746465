"""What base's direction reads, part by part, in both models.

In base's σ along the direction: how far the poles' statements lie apart (pole b less pole a, where the bias cancels),
and where open questions lie. The bias, selected latents, other latents and what the dictionary leaves out add up to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from unmask.features.decomposition import decompose
from unmask.measurements.features.coding import Reader, Text, batches
from unmask.measurements.sets import ProbeSet
from unmask.measurements.steering import Push
from unmask.runner.records import Records
from unmask.runner.requests import SIDES

Floats = npt.NDArray[np.float64]
PARTS = ("bias", "selected", "other latents", "error")


def decomposition(
    reader: Reader,
    push: Push,
    latents: npt.NDArray[np.int64],
    statements: ProbeSet,
    read: Mapping[str, Sequence[Text]],
    asked: Mapping[str, Sequence[Text]],
    records: Records,
) -> pd.DataFrame:
    """A row a side, kind of text and part.

    Args:
        reader: the dictionary.
        push: holds the direction and base's σ along it.
        latents: the selected ones.
        statements: the poles of `read`.
        read: statements, by side.
        asked: open questions.
        records: hold both.
    """
    rows: list[dict[str, object]] = []
    for side in SIDES:
        poles, questions = (
            _parts(reader, push, latents, texts, records) for texts in (read[side], asked[side])
        )
        apart = np.nanmean(poles[statements.labels == 1], 0) - np.nanmean(poles[statements.labels == 0], 0)
        for of, (*values, total) in (("statements", apart), ("questions", np.nanmean(questions, 0))):
            for part, value in zip(PARTS, values, strict=True):
                rows.append(
                    {"side": side, "of": of, "part": part, "value": float(value), "total": float(total)}
                )
    return pd.DataFrame(rows)


def _parts(
    reader: Reader, push: Push, latents: npt.NDArray[np.int64], texts: Sequence[Text], records: Records
) -> Floats:
    """`[texts, parts + 1]`, means over tokens: each part, and the whole; NaN for a text without tokens."""
    found: list[list[float]] = []
    for states, lengths in batches(texts, records, reader.layer):
        parts = decompose(reader.sae, states, torch.from_numpy(push.unit))
        selected = parts.of(torch.from_numpy(latents))
        bias = torch.full_like(parts.total, parts.bias)
        columns = torch.stack([bias, selected, parts.all_latents - selected, parts.error, parts.total], dim=1)
        found += [part.mean(0).tolist() for part in columns.split(lengths)]
    return np.array(found) / push.size["base"]
