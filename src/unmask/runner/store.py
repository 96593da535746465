"""What models answered, on disk: one file a batch, content-addressed, checksummed, written atomically."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from unmask.runner.requests import Answer

Result = npt.NDArray[np.float32] | Answer


class RecordStore:
    """A folder of batch records.

    A record that is missing, cut short or damaged reads as None, so its batch runs again; nothing is ever
    patched in place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def write(self, key: str, rows: Sequence[str], results: Sequence[Result]) -> None:
        """Write a batch's results beside their row keys; the file appears whole or not at all."""
        arrays: dict[str, npt.NDArray[np.float32]] = {}
        texts: dict[str, list[object]] = {}
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, Answer):
                texts[row] = [result.text, result.tokens, result.finished]
            else:
                arrays[row] = np.ascontiguousarray(result, dtype=np.float32)
        answers = json.dumps(texts, ensure_ascii=False)
        checksum = _checksum(arrays, answers)
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with partial.open("wb") as file:
            file.write(
                save(arrays or {"": np.zeros(0, np.float32)}, {"answers": answers, "sha256": checksum})
            )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

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
            if metadata["sha256"] != _checksum(arrays, answers):
                return None
        except (SafetensorError, OSError, KeyError, ValueError, TypeError):
            return None
        texts = {row: Answer(*fields) for row, fields in json.loads(answers).items()}
        return {**arrays, **texts}

    def clear(self) -> None:
        """Delete every record, and what a killed run left half-written."""
        for path in self.folder.rglob("*"):
            if path.is_file():
                path.unlink()

    def bytes(self) -> int:
        """How much the records take on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))


def _checksum(arrays: Mapping[str, npt.NDArray[np.float32]], answers: str) -> str:
    hasher = hashlib.sha256(answers.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        hasher.update(f"{name}{array.shape}".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()
