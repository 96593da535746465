"""Documents to train on, from whatever file they lie in."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from unmask.features.errors import DictionaryError
from unmask.features.shipped import CORPORA, shipped_path

FIELD = "text"
"""The field of a JSON object, or the column of a table, that holds a document."""
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n")


def read_corpus(reference: str | Path) -> list[str]:
    """The documents of a file, or of a folder's files in the order of their names.

    | file | documents |
    |---|---|
    | `.txt`, `.txt.gz` | parted by blank lines |
    | `.jsonl`, `.jsonl.gz` | the field "text" of each line |
    | `.parquet` | the column "text" |

    `demo:NAME` is a corpus that ships.

    Text is UTF-8. Documents of nothing but whitespace are left out, and so are files of other kinds in a folder.

    Raises:
        DictionaryError: there is no such file, it is of another kind, damaged, no UTF-8, without a text where one
            should be, or without any document.
    """
    path = shipped_path(str(reference), CORPORA)
    if path.is_dir():
        found = [inner for inner in sorted(path.iterdir()) if inner.is_file() and _reader(inner)]
        if not found:
            raise DictionaryError(f"the folder {path} holds no file of a corpus: {_kinds()}.")
        return [document for inner in found for document in _read_file(inner)]
    if not path.exists():
        raise DictionaryError(f"there is no corpus {path}; give a file ({_kinds()}) or a folder of them.")
    return _read_file(path)


def _read_file(path: Path) -> list[str]:
    reader = _reader(path)
    if reader is None:
        raise DictionaryError(f"{path} is no corpus that can be read: its name must end in {_kinds()}.")
    try:
        documents = [document for document in reader(path) if document.strip()]
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException, UnicodeError) as error:
        raise DictionaryError(f"{path} is damaged, or not what its name says ({_first(error)}).") from error
    except OSError as error:
        raise DictionaryError(f"{path} cannot be read ({error.strerror or _first(error)}).") from error
    if not documents:
        raise DictionaryError(f"{path} holds no document: it is empty, or nothing but whitespace.")
    return documents


def _plain(path: Path) -> Iterator[str]:
    text = "".join(_lines(path))
    return (document.strip("\n") for document in _BLANK_LINES.split(text))


def _json_lines(path: Path) -> Iterator[str]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DictionaryError(f"line {number} of {path} is not JSON ({_first(error)}).") from error
        if not isinstance(row, dict):
            raise DictionaryError(
                f'line {number} of {path} is no JSON object; each line must be one with the field "{FIELD}".'
            )
        fields = cast(dict[str, object], row)
        text = fields.get(FIELD)
        if not isinstance(text, str):
            there = ", ".join(map(str, fields)) or "none"
            what = "is no text" if FIELD in fields else "is missing"
            raise DictionaryError(
                f'in line {number} of {path} the field "{FIELD}" {what}; its fields are {there}.'
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:  # JSON can spell half a character
            raise DictionaryError(
                f"line {number} of {path} holds half a character ({_first(error)}); write it as UTF-8."
            ) from error
        yield text


def _table(path: Path) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if FIELD not in names:
            raise DictionaryError(f'{path} has no column "{FIELD}"; its columns are {", ".join(names)}.')
        kind = file.schema_arrow.field(FIELD).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DictionaryError(f'the column "{FIELD}" of {path} holds {kind}, not text.')
        for batch in file.iter_batches(columns=[FIELD]):
            yield from (text for text in batch.column(0).to_pylist() if text is not None)


def _lines(path: Path) -> Iterator[str]:
    """Lines with `\\n` at their end, however the file ends them, and without a byte order mark."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DictionaryError(
                    f"line {number} of {path} is not UTF-8 (byte 0x{line[error.start]:02x}); convert the file to UTF-8."
                ) from error
            yield text.removesuffix("\r\n") + "\n" if text.endswith("\r\n") else text


_READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".txt": _plain,
    ".txt.gz": _plain,
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".parquet": _table,
}


def _reader(path: Path) -> Callable[[Path], Iterator[str]] | None:
    name = path.name.lower()
    return next((reader for ending, reader in _READERS.items() if name.endswith(ending)), None)


def _kinds() -> str:
    *most, last = _READERS
    return f"{', '.join(most)} or {last}"


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
