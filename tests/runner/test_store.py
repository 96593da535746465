"""Records: what is written comes back; what is damaged in any bit, cut short or half-written does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from unmask.runner.requests import Answer
from unmask.runner.store import RecordStore, Result

KEY = "ab" * 32
results = st.one_of(
    arrays(np.float32, array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)),
    st.builds(Answer, st.text(), st.integers(0, 99), st.booleans()),
)


def same(a: dict[str, Result], b: dict[str, Result]) -> bool:
    return a.keys() == b.keys() and all(
        a[row] == b[row]
        if isinstance(a[row], Answer)
        else a[row].shape == b[row].shape and a[row].tobytes() == b[row].tobytes()  # type: ignore[union-attr]
        for row in a
    )


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("0123456789abcdef", min_size=64, max_size=64), results, max_size=5))
def test_what_is_written_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Result]
) -> None:
    store = RecordStore(tmp_path_factory.mktemp("store"))
    store.write(KEY, list(rows), list(rows.values()))
    read = store.read(KEY)
    assert read is not None
    assert same(read, rows)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    store = RecordStore(tmp_path)
    store.write(
        KEY,
        ["r1", "r2", "r3"],
        [np.arange(3, dtype=np.float32), np.ones((1, 2), np.float32), Answer("é", 2, True)],
    )
    (path,) = tmp_path.rglob("*.safetensors")
    return path


def test_a_record_cut_short_anywhere_reads_as_none(record: Path) -> None:
    whole = record.read_bytes()
    store = RecordStore(record.parent.parent)
    for size in range(len(whole)):
        record.write_bytes(whole[:size])
        assert store.read(KEY) is None, size
    record.write_bytes(whole + b"\0")
    assert store.read(KEY) is None
    record.write_bytes(whole)
    assert store.read(KEY) is not None


def test_a_record_with_any_one_bit_flipped_reads_as_none(record: Path) -> None:
    whole = record.read_bytes()
    store = RecordStore(record.parent.parent)
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        record.write_bytes(damaged)
        assert store.read(KEY) is None, (bit, whole[bit // 8 - 10 : bit // 8 + 10])


def test_a_half_written_file_is_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RecordStore(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(KEY, ["r"], [Answer("x", 1, True)])
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] != []
    assert store.read(KEY) is None
    assert store.bytes() == 0
    store.write(KEY, ["r"], [Answer("x", 1, True)])
    assert store.read(KEY) == {"r": Answer("x", 1, True)}
    store.clear()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert store.read(KEY) is None


def test_a_store_that_was_never_written_to_is_empty(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "none")
    assert store.read(KEY) is None
    assert store.bytes() == 0
    store.clear()
