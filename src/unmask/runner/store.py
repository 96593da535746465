"""What models answered, on disk: one file a batch, content-addressed, checksummed, written atomically."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from unmask.runner.requests import Answer, Failed
from unmask.writing import replacing

Result = npt.NDArray[np.float32] | Answer | Failed
_OWN = re.compile(r"\.?[0-9a-f]{64}\.safetensors(\..+)?")
"""A record's name, or that of one half-written."""


class RecordStore:
    """A folder of batch records.

    A record that is missing, cut short or damaged reads as None, so its batch runs again; nothing is ever
    patched in place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def write(self, key: str, rows: Sequence[str], results: Sequence[Result], split: bool = False) -> None:
        """Write a batch's results beside their row keys; the file appears whole or not at all.

        Args:
            key: the batch.
            rows: the rows' addresses.
            results: one a row.
            split: the batch was served in parts, so that its bits may differ from those of the whole.
        """
        arrays: dict[str, npt.NDArray[np.float32]] = {}
        texts: dict[str, list[object]] = {}
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, Answer):
                texts[row] = [result.text, result.tokens, result.finished]
            elif isinstance(result, Failed):
                texts[row] = [result.message]
            else:
                arrays[row] = np.ascontiguousarray(result, dtype=np.float32)
        answers = json.dumps(texts, ensure_ascii=False)
        metadata = {"answers": answers, "sha256": _checksum(arrays, answers, split)}
        if split:
            metadata["split"] = "yes"
        with replacing(self._path(key)) as partial:
            partial.write_bytes(save(arrays or {"": np.zeros(0, np.float32)}, metadata))

    def read(self, key: str) -> dict[str, Result] | None:
        """The results of a batch by row key, or None where there is no sound record of it."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = cast(Mapping[str, str], file.metadata())
                arrays = {name: file.get_tensor(name) for name in file.keys() if name}  # noqa: SIM118 (no dict)
            answers = metadata["answers"]
            if metadata["sha256"] != _checksum(arrays, answers, metadata.get("split") == "yes"):
                return None
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            return None
        texts = {
            row: Failed(*fields) if len(fields) == 1 else Answer(*fields)
            for row, fields in json.loads(answers).items()
        }
        return {**arrays, **texts}

    def was_split(self, key: str) -> bool:
        """Whether the batch of a sound record was served in parts."""
        with safe_open(self._path(key), framework="numpy") as file:
            return "split" in cast(Mapping[str, str], file.metadata())

    def clear(self) -> None:
        """Delete every record, and what a killed run left half-written; a file of someone else's stays."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            if _OWN.fullmatch(path.name):
                path.unlink()


def _checksum(arrays: Mapping[str, npt.NDArray[np.float32]], answers: str, split: bool) -> str:
    hasher = hashlib.sha256(answers.encode())
    if split:
        hasher.update(b"split")
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hasher.update(f"{name}{array.shape}".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()
