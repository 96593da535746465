"""Corpora: the same documents from every kind of file, and one sentence for every kind of fault."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from unmask.features.corpus import read_corpus
from unmask.features.errors import DictionaryError

DOCUMENTS = ["The committee met.\nIt talked.", "naïve café — 東京 \u2028 still one", "  indented,\tthe last"]
PLAIN = "\n\n" + "\n \t\n\n".join(DOCUMENTS) + "\n"
LINES = (
    "\n".join(json.dumps({"id": i, "text": text}) for i, text in enumerate(DOCUMENTS)) + '\n\n{"text": " "}'
)


def packed(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


def table(path: Path, **columns: object) -> None:
    pd.DataFrame(columns).to_parquet(path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.txt": lambda path: path.write_bytes(PLAIN.encode()),
    "windows.txt": lambda path: path.write_bytes(PLAIN.replace("\n", "\r\n").encode("utf-8-sig")),
    "a.txt.gz": lambda path: packed(path, PLAIN),
    "a.jsonl": lambda path: path.write_bytes(LINES.encode()),
    "escaped.JSONL": lambda path: path.write_bytes(b"\xef\xbb\xbf" + LINES.encode()),
    "a.jsonl.gz": lambda path: packed(path, LINES),
    "a.parquet": lambda path: table(path, text=[*DOCUMENTS, None, ""], other=range(5)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_holds_the_same_documents(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert read_corpus(str(tmp_path / name)) == DOCUMENTS


def test_a_folder_is_its_files_in_order_whatever_else_lies_there(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("second")
    (tmp_path / "a.jsonl").write_text('{"text": "first"}')
    (tmp_path / "c.md").write_text("not of the corpus")
    (tmp_path / "d.txt").mkdir()
    assert read_corpus(tmp_path) == ["first", "second"]


FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("a.txt", lambda path: None, "there is no corpus .*a.txt; give a file"),
    "empty": ("a.txt", lambda path: path.write_text(""), "a.txt holds no document"),
    "blank": ("a.txt.gz", lambda path: packed(path, "\n \n"), "a.txt.gz holds no document"),
    "another kind": ("a.csv", lambda path: path.write_text("text"), "its name must end in .txt,"),
    "nothing in a folder": ("a", lambda path: path.mkdir(), "holds no file of a corpus: .txt,"),
    "bytes": ("a.txt", lambda path: path.write_bytes(b"fine\nbad \xff"), "line 2 of .* not UTF-8 .*0xff"),
    "no JSON": ("a.jsonl", lambda path: path.write_text('{"text": "a"}\n{'), "line 2 of .* is not JSON"),
    "no object": ("a.jsonl", lambda path: path.write_text('["text"]'), "line 1 of .* is no JSON object"),
    "no text": (
        "a.jsonl",
        lambda path: path.write_text('{"text": "a"}\n{"prompt": "b", "answer": "c"}'),
        'in line 2 of .* the field "text" is missing; its fields are prompt, answer',
    ),
    "a number": ("a.jsonl", lambda path: path.write_text('{"text": 3}'), 'line 1 .* "text" is no text'),
    "half a character": ("a.jsonl", lambda path: path.write_text(r'{"text": "\ud83d"}'), "half a character"),
    "no column": ("a.parquet", lambda path: table(path, body=["a"], id=[1]), 'no column "text".* body, id'),
    "numbers": ("a.parquet", lambda path: table(path, text=[1, 2]), 'column "text" .* holds int64, not text'),
    "no table": ("a.parquet", lambda path: path.write_bytes(b"PAR1?"), "a.parquet is damaged"),
    "no archive": ("a.txt.gz", lambda path: path.write_bytes(b"plain"), "a.txt.gz is damaged"),
    "cut short": (
        "a.jsonl.gz",
        lambda path: path.write_bytes(gzip.compress(LINES.encode())[:-9]),
        "a.jsonl.gz is damaged",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_that_names_the_place(tmp_path: Path, fault: str) -> None:
    name, write, sentence = FAULTS[fault]
    write(tmp_path / name)
    with pytest.raises(DictionaryError, match=sentence) as raised:
        read_corpus(tmp_path / name)
    assert "\n" not in str(raised.value)
