"""Published autoencoders, through SAELens: `RELEASE/ID`, fetched and converted once.

RELEASE is what stands before the first slash, if it is in SAELens' list of releases. If not, the first two parts are a
repository on the hub, OWNER/REPO, in SAELens' own layout. ID is the rest in both, slashes and all.

Source: https://decoderesearch.github.io/SAELens/latest/pretrained_saes/
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.errors import DictionaryError
from unmask.features.formats.files import said_of
from unmask.features.formats.saelens import from_saelens, read_saelens, write_saelens
from unmask.models.cache import cache_dir
from unmask.models.files.gguf import build_once

PREFIX = "saelens:"
RECIPE = "saelens-1"
"""What `from_release` does, as a name; another makes the cache convert again."""


def open_release(name: str) -> SparseAutoencoder:
    """A published autoencoder `RELEASE/ID`, in float32; from the cache folder if it was ever opened before.

    Raises:
        DictionaryError: SAELens is not installed, does not know it or cannot fetch it, or it cannot be represented.
    """
    return read_saelens(build_once(cached(name), lambda folder: write_saelens(from_release(name), folder)))


def cached(name: str) -> Path:
    """Where the converted autoencoder is, or will be; delete it to fetch anew."""
    return cache_dir() / "dictionaries" / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}-{RECIPE}"


def from_release(name: str) -> SparseAutoencoder:
    """Fetched by SAELens, which folds a scale of the input where it knows one, and converted.

    Raises:
        DictionaryError: as for `open_release`.
    """
    try:
        sae_lens: Any = importlib.import_module("sae_lens")
        directory: Any = importlib.import_module("sae_lens.loading.pretrained_saes_directory")
    except ImportError as error:
        raise DictionaryError(
            f"{PREFIX}{name} is opened by SAELens, which could not be imported ({error}); "
            "run pip install 'unmask[saelens]'."
        ) from error
    release, identity = split(name, directory.get_pretrained_saes_directory().keys())
    try:
        sae = sae_lens.SAE.from_pretrained(release, identity, device="cpu")
    except Exception as error:  # SAELens, huggingface_hub and the files raise many kinds here
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise DictionaryError(
            f"SAELens could not open {identity} of {release} ({type(error).__name__}: {first}); look it up in "
            "SAELens' list of pretrained autoencoders, and connect to the hub."
        ) from error
    with said_of(f"{PREFIX}{name}"):
        found = from_saelens(sae.cfg.to_dict(), sae.state_dict())
    return replace(found, facts={**found.facts, "source": f"{PREFIX}{name}"})


def split(name: str, known: Collection[str]) -> tuple[str, str]:
    """RELEASE and ID of `RELEASE/ID`, with the releases that SAELens knows.

    Raises:
        DictionaryError: one of them is missing.
    """
    release, _, identity = name.partition("/")
    if release not in known:
        owner, _, rest = name.partition("/")
        repository, _, identity = rest.partition("/")
        release = f"{owner}/{repository}"
    if not identity:
        close = difflib.get_close_matches(name.partition("/")[0], known, n=1)
        nearest = f"; the nearest release is {close[0]}" if close else ""
        raise DictionaryError(
            f"{PREFIX}{name} names no autoencoder: {PREFIX}RELEASE/ID was expected, with a release that SAELens lists, "
            f"or {PREFIX}OWNER/REPO/ID{nearest}."
        )
    return release, identity
