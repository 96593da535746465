"""Edits as data: identity by provenance, shapes, records, and bad ones refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from unmask.models import Add, Clamp, ClampLatents, Erase, Patch, ProjectOut, Substitute, Vector, edit_record
from unmask.models.edits import parting, same_effect, touched

RNG = np.random.default_rng(0)
V, W = (Vector(key, RNG.normal(size=6).astype(np.float32)) for key in "vw")


class Nothing:
    """A coder that is never asked."""

    def reconstruct(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def change(self, x: Tensor, latents: Tensor, values: Tensor) -> Tensor:
        raise NotImplementedError


def test_a_vector_is_its_key() -> None:
    assert Vector("v", V.values + 1) == V
    assert len({V, Vector("v", V.values * 2), W}) == 2
    assert Add((1,), V, 2.0) == Add((1,), Vector("v", W.values), 2.0)


def test_an_edit_touches_the_tokens_that_all_its_words_allow() -> None:
    def at(edit: Add | Patch, start: int = 4) -> list[int]:
        return np.flatnonzero(touched(edit, start, 7)).tolist()

    add = Add((3, 2), V, 1.0)
    assert at(add) == [1, 2, 3, 4, 5, 6]
    assert at(replace(add, skip_first=False, where="prompt")) == [0, 1, 2, 3]
    assert at(replace(add, where="generated")) == [4, 5, 6]
    assert at(replace(add, positions=(0, 2, 5, 99))) == [2, 5]
    assert at(replace(add, positions=(0, 2, 5), where="generated")) == [5]
    assert at(Patch((2,), V, (1.0,) * 3, "x")) == [1, 2]
    assert parting(add, 4, 7) == (2, 1)
    assert parting(replace(add, where="generated"), 4, 7) == (2, 4)
    assert parting(replace(add, where="generated"), 7, 7) is None
    assert parting(None, 4, 7) is None


def test_where_an_answer_begins_matters_only_to_edits_that_ask() -> None:
    add = Add((2,), V, 1.0)
    assert same_effect(add, 3) == same_effect(add, 4)
    late = replace(add, where="generated")
    assert same_effect(late, 3) != same_effect(late, 4)
    assert same_effect(late, 3) == same_effect(replace(late), 3)


def test_records_are_json_and_tell_edits_apart() -> None:
    edits = [
        Add((1,), V, 1.0),
        Add((1,), V, 2.0),
        Add((1,), W, 1.0),
        Add((1,), V, 1.0, "generated"),
        ProjectOut((1,), (V,)),
        ProjectOut((1,), (V, W)),
        Erase((1,), V, W, 1.0),
        Erase((1,), W, V, 1.0),
        Clamp((1,), V, 1.0),
        Patch((1,), V, (1.0, 2.0), "x"),
        Patch((1,), V, (1.0, 2.0), "y"),
        Patch((1,), V, (1.0, 2.0), "x", positions=(1,)),
        Add((1,), V, 1.0, positions=(1,)),
        Add((1,), V, 1.0, positions=(1, 2)),
        Clamp((1,), V, 1.0, positions=(1,)),
        Substitute((1,), Nothing(), "nothing"),
        Substitute((1,), Nothing(), "another"),
        ClampLatents((1,), Nothing(), "nothing at 1", (1, 2), (0.0, 1.0)),
        ClampLatents((1,), Nothing(), "nothing at 2", (1, 2), (0.0, 1.0)),
        ClampLatents((1,), Nothing(), "nothing at 2", (1, 3), (0.0, 1.0)),
    ]
    assert len({json.dumps(edit_record(edit), sort_keys=True) for edit in edits}) == len(edits)


def test_records_without_positions_are_those_that_lie_on_disks() -> None:
    place = {"layers": [1], "where": "all", "skip_first": True}
    add = {"edit": "Add", **place, "vector": "v", "dose": 1.0}
    patch = {"edit": "Patch", **place, "vector": "v", "values": "x"}
    assert edit_record(Add((1,), V, 1.0)) == add
    assert edit_record(Add((1,), V, 1.0, positions=(3, 4))) == {**add, "positions": [3, 4]}
    assert edit_record(Patch((1,), V, (1.0,), "x")) == {**patch, "positions": None}
    assert edit_record(Patch((1,), V, (1.0,), "x", positions=(0,))) == {**patch, "positions": [0]}


def test_orthonormal_basis_spans_and_drops_repeats() -> None:
    basis = ProjectOut((1,), (V, W, Vector("2v", 2 * V.values))).orthonormal()
    assert basis.shape == (2, 6)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-6)
    for vector in (V, W):
        np.testing.assert_allclose(basis.T @ (basis @ vector.values), vector.values, atol=1e-5)


def test_bad_edits_are_refused() -> None:
    with pytest.raises(ValueError, match="layers"):
        Add((), V, 1.0)
    with pytest.raises(ValueError, match="layers"):
        Clamp((1, 1), V, 1.0)
    with pytest.raises(ValueError, match="where"):
        Add((1,), V, 1.0, "everywhere")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="empty basis"):
        ProjectOut((1,), ())
    with pytest.raises(ValueError, match="positions"):
        Patch((1,), V, (1.0,), "x", positions=(1,))
    with pytest.raises(ValueError, match=r"positions are \(2, -1\); each must be 0"):
        Add((1,), V, 1.0, positions=(2, -1))
    with pytest.raises(ValueError, match="zero"):
        Vector("0", np.zeros(3, np.float32)).unit()
    with pytest.raises(ValueError, match="finite"):
        Vector("nan", np.array([np.nan], np.float32))


def test_a_clamp_is_its_provenance_and_not_the_last_bits_of_its_values() -> None:
    one, other = (
        ClampLatents((1,), Nothing(), "at 1", (1,), (value,), value) for value in (7.249274, 7.249273)
    )
    assert one == other
    assert edit_record(one) == edit_record(other)
