"""What ships for the demo models: a dictionary of their middle layer, and the texts that it was trained on."""

from __future__ import annotations

from pathlib import Path

from unmask.features.errors import DictionaryError

PREFIX = "demo:"
DEMO = Path(__file__).parent / "demo"
DICTIONARIES = {"smollm2-15": DEMO / "smollm2-15"}
"""Autoencoders, by the name behind `demo:`: of demo:base and demo:masked, layer 15."""
CORPORA = {"conversations": DEMO / "conversations.jsonl.gz"}
"""Texts, by the name behind `demo:`: what the demo models say (`unmask lab corpus`)."""


def shipped_path(reference: str, shipped: dict[str, Path]) -> Path:
    """Where a reference leads: `demo:NAME` to what ships, anything else to the path that it is.

    Raises:
        DictionaryError: nothing of that name ships.
    """
    if not reference.startswith(PREFIX):
        return Path(reference).expanduser()
    name = reference.removeprefix(PREFIX)
    if name not in shipped:
        known = ", ".join(PREFIX + one for one in shipped)
        raise DictionaryError(f"There is no {reference} among what ships; there is {known}.")
    return shipped[name]
