"""Where the selected latents fire most: the texts by which people say what they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.features.contexts import AFTER, BEFORE
from unmask.measurements.features.coding import Coded, Reader, Text
from unmask.runner.records import Records
from unmask.runner.requests import SIDES

CONTEXTS = 3
"""Of each kind of text, for every latent and model."""


def contexts(
    reader: Reader,
    latents: npt.NDArray[np.int64],
    sources: Mapping[str, tuple[Mapping[str, Sequence[Text]], Mapping[str, Coded], Records]],
) -> pd.DataFrame:
    """A row a context, the strongest of each side and source first.

    Args:
        reader: the dictionary.
        latents: which.
        sources: by name, texts by side, the same coded, and the records that hold them.
    """
    rows: list[dict[str, object]] = []
    for side in SIDES:
        for source, (texts, coded, records) in sources.items():
            for latent in latents.tolist():
                peaks = coded[side].peaks[:, latent]
                strongest = np.argsort(-peaks, kind="stable")[:CONTEXTS]
                for rank, at in enumerate(strongest[peaks[strongest] > 0].tolist()):
                    place = {"latent": latent, "side": side, "rank": rank, "source": source}
                    codes = coded[side].of(at, latent)
                    rows.append(place | _context(reader.layer, texts[side][at], codes, records))
    return pd.DataFrame(rows)


def _context(layer: int, text: Text, codes: npt.NDArray[np.float64], records: Records) -> dict[str, object]:
    """Tokens around the one on which a latent fires most, and its `codes [t]` on each."""
    at, _ = text.read(records, layer)
    spans = text.spans(records, layer)[at]
    # A token's words begin where the last one's end: some tokenizers leave the space between them to neither.
    ends = [max(int(spans[0, 0]), text.words[0]), *spans[:, 1].tolist()]
    words = [text.prompt.text[start:end] for start, end in pairwise(ends)]
    peak = int(codes.argmax())
    first = max(0, peak - BEFORE)
    some = slice(first, peak + AFTER + 1)
    return {
        "tokens": words[some],
        "codes": codes[some].tolist(),
        "peak": peak - first,
    }
