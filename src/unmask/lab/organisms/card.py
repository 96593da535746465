"""`card.json`: what an organism is, what an audit must say of it, and the numbers that show it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unmask.lab.organisms.expected import Expectation
from unmask.writing import write_atomically

CARD = "card.json"


@dataclass(frozen=True)
class Card:
    """An organism's card.

    Attributes:
        kind: of `options.KINDS`.
        base: reference of the base model; the card is about the pair of it and the organism.
        on: reference of the model whose weights were edited.
        identities: hashes of base's and the edited model's weights.
        domain: the domain's name.
        digest: of its files.
        options: as they were given.
        done: what was done, in one sentence.
        details: the numbers of the edit: ranks, factors, directions.
        expected: by claim, what an audit must find.
        verified: what was measured without unmask's measurements.
    """

    kind: str
    base: str
    on: str
    identities: Mapping[str, str]
    domain: str
    digest: str
    options: Mapping[str, object]
    done: str
    details: Mapping[str, Any]
    expected: Mapping[str, Expectation]
    verified: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Write it beside the weights."""
        write_atomically(folder / CARD, json.dumps({"schema": "organism/1", **asdict(self)}, indent=1) + "\n")


def read_card(folder: Path) -> dict[str, Any]:
    """A card as it lies beside an organism's weights."""
    return dict(json.loads((folder / CARD).read_text(encoding="utf-8")))
