"""What models answered, on disk: one file a batch, content-addressed, checksummed, written whole, read by the row.

The files are safetensors, which any tool opens. They are written and read here by hand, since the library puts a file's
metadata in another order each time and cannot say where in the file a row lies.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from unmask.runner.requests import Answer, Failed
from unmask.writing import replacing

RECORD_VERSION = 2
"""Raised whenever the layout of a record changes, or what the same batch of the same model answers."""

Result = npt.NDArray[np.float32] | Answer | Failed
_OWN = re.compile(r"\.?[0-9a-f]{64}\.safetensors(\..+)?")
"""A record's name, or that of one half-written."""


class MissingRecord(LookupError):
    """A run's records do not hold an answer; the message is one sentence for the user."""


class DamagedRecord(MissingRecord):
    """A record is not as it was written.

    Attributes:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"the record {path} is damaged; run the same audit again to measure it anew.")
        self.path = path


@dataclass(frozen=True, slots=True)
class Row:
    """Where one answer lies on disk, and what it must be to be sound.

    Attributes:
        path: the batch's record.
        name: the row's address.
        start: its first byte in the file.
        size: bytes.
        dtype: "F32" for numbers, "U8" for the JSON of a text.
        shape: of the array.
        checksum: SHA-256 of name, type, shape and bytes.
    """

    path: Path
    name: str
    start: int
    size: int
    dtype: str
    shape: tuple[int, ...]
    checksum: str

    def load(self) -> Result:
        """Read the answer from disk.

        Raises:
            DamagedRecord: the bytes are not those that were written, or they are gone.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.start)
                data = file.read(self.size)
        except (OSError, OverflowError) as error:
            raise DamagedRecord(self.path) from error
        if _checksum(self.name, self.dtype, self.shape, data) != self.checksum:
            raise DamagedRecord(self.path)
        if self.dtype == "U8":
            fields = json.loads(data)
            return Failed(*fields) if len(fields) == 1 else Answer(*fields)
        return np.frombuffer(data, "<f4").astype(np.float32).reshape(self.shape)


@dataclass(frozen=True)
class Record:
    """A sound record.

    Attributes:
        rows: by address.
        split: None where the batch was served whole. Else what it cost at least to run out of memory, in tokens, or 0
            where memory sufficed and the batch was split to find the row that its edit leaves without an answer.
        plainly: why nothing that the rows have in common was shared; empty where it was.
    """

    rows: Mapping[str, Row]
    split: int | None = None
    plainly: str = ""


class RecordStore:
    """A folder of batch records.

    A record that is damaged anywhere says so when it is read, so that its batch runs again; nothing is ever patched
    in place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the record of a batch is, or would be."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def write(
        self,
        key: str,
        rows: Sequence[str],
        results: Sequence[Result],
        split: int | None = None,
        plainly: str = "",
    ) -> Record:
        """Write a batch's results beside their row keys; the file appears whole or not at all.

        Args:
            key: the batch.
            rows: the rows' addresses.
            results: one a row.
            split, plainly: as in `Record`.

        Raises:
            OSError: with the file's name; ENOSPC or EDQUOT where the disk is full.
        """
        arrays = {row: _array(result) for row, result in zip(rows, results, strict=True)}
        tensors: dict[str, object] = {}
        checksums: dict[str, str] = {}
        end = 0
        for row in sorted(arrays, key=lambda row: arrays[row].dtype == np.uint8):  # numbers first, so aligned
            array, start = arrays[row], end
            end += array.nbytes
            dtype = "U8" if array.dtype == np.uint8 else "F32"
            tensors[row] = {"dtype": dtype, "shape": array.shape, "data_offsets": [start, end]}
            checksums[row] = _checksum(row, dtype, array.shape, array.data)
        about = json.dumps({"rows": checksums, "split": split, "plainly": plainly})
        metadata = {"about": about, "sha256": _sha256(about.encode())}
        header = json.dumps({"__metadata__": metadata, **tensors}).encode()
        header += b" " * (-len(header) % 8)
        with replacing(self.path(key)) as partial, partial.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for row in tensors:
                file.write(arrays[row].data)
        return self._parse(key)

    def read(self, key: str) -> Record | None:
        """The record of a batch, every row of it checked; None where there is none.

        Raises:
            DamagedRecord: it is not as it was written.
        """
        if not self.path(key).exists():
            return None
        record = self._parse(key)
        for row in record.rows.values():
            row.load()
        return record

    def _parse(self, key: str) -> Record:
        """What a record says of itself; its rows are not looked at."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                if length > path.stat().st_size:
                    raise DamagedRecord(path)
                header = cast(dict[str, dict[str, object]], json.loads(file.read(length)))
            metadata = cast(dict[str, str], header.pop("__metadata__"))
            about = json.loads(metadata["about"])
            spans = {name: range(*cast(list[int], tensor["data_offsets"])) for name, tensor in header.items()}
            if (
                metadata["sha256"] != _sha256(metadata["about"].encode())
                or about["rows"].keys() != header.keys()
                or path.stat().st_size != 8 + length + max((span.stop for span in spans.values()), default=0)
            ):
                raise DamagedRecord(path)
            rows = {
                name: Row(
                    path,
                    name,
                    8 + length + spans[name].start,
                    len(spans[name]),
                    cast(str, tensor["dtype"]),
                    tuple(cast(list[int], tensor["shape"])),
                    about["rows"][name],
                )
                for name, tensor in header.items()
            }
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DamagedRecord(path) from error
        return Record(rows, about["split"], about["plainly"])

    def clear(self) -> None:
        """Delete every record, and what a killed run left half-written; a file of someone else's stays."""
        for path in self.folder.glob("[0-9a-f][0-9a-f]/*"):
            if _OWN.fullmatch(path.name):
                path.unlink()


def _array(result: Result) -> npt.NDArray[np.float32] | npt.NDArray[np.uint8]:
    """A row as it lies in the file: numbers as they are, a text as the bytes of its JSON."""
    if isinstance(result, Answer):
        fields: list[object] = [result.text, result.tokens, result.finished]
    elif isinstance(result, Failed):
        fields = [result.message]
    else:
        return np.ascontiguousarray(result, dtype=np.float32)
    return np.frombuffer(json.dumps(fields).encode(), np.uint8)


def _checksum(name: str, dtype: str, shape: Sequence[int], data: bytes | memoryview) -> str:
    hasher = hashlib.sha256(f"{name} {dtype} {list(shape)} ".encode())
    hasher.update(data)
    return hasher.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
