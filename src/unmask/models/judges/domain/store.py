"""Fitted judges on disk: one safetensors file each, checksummed, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from unmask.models.judges.domain.fit import Fitted
from unmask.models.judges.domain.wording import Wording
from unmask.writing import replacing

_ARRAYS = ("centre", "scale", "kind", "side", "sharpness", "blanks")


def write_fitted(path: Path, fitted: Fitted) -> None:
    """Store a fitted judge."""
    arrays = {name: np.ascontiguousarray(getattr(fitted, name)) for name in _ARRAYS}
    arrays["rarity"] = np.ascontiguousarray(fitted.wording.rarity)
    words = json.dumps(
        {"terms": fitted.wording.terms, "topics": fitted.topics, "questions": fitted.questions},
        ensure_ascii=False,
    )
    with replacing(path) as partial:
        partial.write_bytes(save(arrays, {"words": words, "sha256": _checksum(arrays, words)}))


def read_fitted(path: Path) -> Fitted | None:
    """A stored judge, or None where there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata()
            arrays: dict[str, NDArray[np.float32]] = {
                name: file.get_tensor(name) for name in (*_ARRAYS, "rarity")
            }
        if metadata["sha256"] != _checksum(arrays, metadata["words"]):
            return None
        words = json.loads(metadata["words"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError):
        return None
    wording = Wording(tuple(words["terms"]), arrays.pop("rarity"))
    return Fitted(**arrays, wording=wording, topics=tuple(words["topics"]), questions=words["questions"])


def _checksum(arrays: dict[str, NDArray[np.float32]], words: str) -> str:
    hasher = hashlib.sha256(words.encode())
    for name in sorted(arrays):
        hasher.update(f"{name}{arrays[name].shape}".encode())
        hasher.update(arrays[name].tobytes())
    return hasher.hexdigest()
