"""Records: what is written comes back row by row; what is damaged in any bit or cut short says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load

from runner.work import flip
from unmask.runner.requests import Answer, Failed
from unmask.runner.store import DamagedRecord, RecordStore, Result

KEY = "ab" * 32
results = st.one_of(
    arrays(np.float32, array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)),
    st.builds(Answer, st.text(), st.integers(0, 99), st.booleans()),
    st.builds(Failed, st.text()),
)


def same(a: dict[str, Result], b: dict[str, Result]) -> bool:
    return a.keys() == b.keys() and all(
        a[row] == b[row]
        if isinstance(a[row], Answer | Failed)
        else a[row].shape == b[row].shape and a[row].tobytes() == b[row].tobytes()  # type: ignore[union-attr]  # there is one
        for row in a
    )


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text("0123456789abcdef", min_size=64, max_size=64), results, max_size=5),
    st.one_of(st.none(), st.integers(0, 9999)),
)
def test_what_is_written_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Result], split: int | None
) -> None:
    store = RecordStore(tmp_path_factory.mktemp("store"))
    written = store.write(KEY, list(rows), list(rows.values()), split)
    read = store.read(KEY)
    assert read == written
    assert read is not None
    assert read.split == split
    bits = store.path(KEY).read_bytes()
    assert {name: array.tobytes() for name, array in load(bits).items()} == {
        name: bits[row.start : row.start + row.size] for name, row in read.rows.items()
    }
    store.write(KEY, list(rows), list(rows.values()), split)
    assert store.path(KEY).read_bytes() == bits
    assert same({name: row.load() for name, row in read.rows.items()}, rows)


@pytest.fixture(params=[None, 512], ids=["whole", "split"])
def record(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    store = RecordStore(tmp_path)
    store.write(
        KEY,
        ["r1", "r2", "r3"],
        [np.arange(3, dtype=np.float32), np.ones((1, 2), np.float32), Answer("é", 2, True)],
        request.param,
    )
    (path,) = tmp_path.rglob("*.safetensors")
    return path


def damaged(store: RecordStore) -> bool:
    """Whether reading the record says so, naming its file."""
    try:
        return store.read(KEY) is None
    except DamagedRecord as error:
        return error.path == store.path(KEY)


def test_a_record_cut_short_anywhere_is_damaged(record: Path) -> None:
    whole = record.read_bytes()
    store = RecordStore(record.parent.parent)
    for size in range(len(whole)):
        record.write_bytes(whole[:size])
        assert damaged(store), size
    record.write_bytes(whole + b"\0")
    assert damaged(store)
    record.write_bytes(whole)
    assert not damaged(store)


def test_a_record_with_any_one_bit_flipped_is_damaged(record: Path) -> None:
    whole = record.read_bytes()
    store = RecordStore(record.parent.parent)
    for bit in range(0, 8 * len(whole), 3):  # two or three bits of every byte, every place in turn
        flip(record, bit)
        assert damaged(store), (bit, whole[bit // 8 - 10 : bit // 8 + 10])
        flip(record, bit)


def test_a_row_is_checked_whenever_it_is_read(record: Path) -> None:
    rows = RecordStore(record.parent.parent).read(KEY).rows  # type: ignore[union-attr]  # there is one
    for row in rows.values():
        sound = row.load()
        flip(record, 8 * row.start + 3)
        with pytest.raises(DamagedRecord, match=record.name):
            row.load()
        flip(record, 8 * row.start + 3)
        assert same({"": row.load()}, {"": sound})
    record.unlink()
    with pytest.raises(DamagedRecord, match=record.name):
        row.load()


def test_what_was_written_by_halves_is_no_record_and_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordStore(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(KEY, ["r"], [Answer("x", 1, True)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store.read(KEY) is None


def test_clearing_takes_records_and_partials_and_nothing_of_anybody_else(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(KEY, ["r"], [Answer("x", 1, True)])
    (tmp_path / "ab" / f".{KEY}.safetensors.8f2c00d1").write_bytes(b"killed")
    others = {
        tmp_path / "notes.txt",
        tmp_path / "ab" / "mine.safetensors",
        tmp_path / "cd" / "weights" / f"{KEY}.safetensors",
    }
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not a record")
    store.clear()
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == others
    assert store.read(KEY) is None


def test_a_store_that_was_never_written_to_is_empty(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "none")
    assert store.read(KEY) is None
    store.clear()
