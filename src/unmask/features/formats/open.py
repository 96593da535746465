"""Opening a dictionary by what a user calls it: a folder, or a published release."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.crosscoder import Crosscoder
from unmask.features.errors import DictionaryError
from unmask.features.formats import crosscoder, saelens, sparsify
from unmask.features.formats.releases import PREFIX, open_release
from unmask.features.shipped import DICTIONARIES, shipped_path


@dataclass(frozen=True)
class Format:
    """A layout on disk.

    Attributes:
        name: whose it is.
        weights: the file that only folders of this format have.
        read: opens such a folder.
    """

    name: str
    weights: str
    read: Callable[[Path], SparseAutoencoder | Crosscoder]


FORMATS = (
    Format("SAELens", saelens.WEIGHTS, saelens.read_saelens),
    Format("sparsify", sparsify.WEIGHTS, sparsify.read_sparsify),
    Format("crosscoder", crosscoder.WEIGHTS, crosscoder.read_crosscoder),
)


def open_dictionary(reference: str) -> SparseAutoencoder | Crosscoder:
    """A dictionary by its reference.

    Args:
        reference: a folder that unmask, SAELens or sparsify wrote, `saelens:RELEASE/ID` (see `releases`), or
            `demo:NAME`, which ships.

    Raises:
        DictionaryError: nothing is there, it is damaged, or unmask cannot represent it exactly.
    """
    if reference.startswith(PREFIX):
        return open_release(reference.removeprefix(PREFIX))
    folder = shipped_path(reference, DICTIONARIES)
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise DictionaryError(
            f"The folder {reference} {kind} ({folder.absolute()} was looked for); "
            f"give a folder with {_wanted()}, or {PREFIX}RELEASE/ID."
        )
    found = format_of(folder)
    if found is None:
        inside = sorted(path.name for path in folder.iterdir() if path.is_dir() and format_of(path))
        hint = f"; it holds folders that do: give {folder / inside[0]}" if inside else ""
        raise DictionaryError(
            f"The folder {folder.absolute()} holds no dictionary: {_wanted()} was expected{hint}."
        )
    return found.read(folder)


def format_of(folder: Path) -> Format | None:
    """The format of a folder, told from its files; None where there is no dictionary in it."""
    return next((format for format in FORMATS if (folder / format.weights).is_file()), None)


def _wanted() -> str:
    return " or ".join(f"{format.weights} ({format.name})" for format in FORMATS)
