"""Sparse sums beside the dense products that they stand for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unmask.features.codes import Codes
from unmask.features.selecting import batch_top_k


@given(st.integers(0, 6), st.integers(1, 9), st.integers(0, 2**31), st.floats(-1, 3))
def test_every_sum_is_the_dense_product(n: int, width: int, seed: int, bar: float) -> None:
    draws = torch.Generator().manual_seed(seed)
    dense = torch.randn(n, width, generator=draws, dtype=torch.float64)
    rows = torch.randn(width, 5, generator=draws, dtype=torch.float64)
    states = torch.randn(n, 5, generator=draws, dtype=torch.float64)
    active = dense > bar
    codes, kept = Codes.where(dense, active), dense * active
    assert torch.equal(codes.dense(), kept)
    assert torch.allclose(codes.combine(rows), kept @ rows)
    assert torch.allclose(codes.gather(states), kept.T @ states)
    assert torch.allclose(codes.totals(), kept.sum(0))
    assert torch.allclose(codes.inner(states, rows), (states @ rows.T)[active])
    halves = [Codes.where(part, part > bar) for part in dense.split(max(1, n // 2))]
    assert torch.equal(Codes.join(halves).dense(), kept)


@given(st.integers(1, 8), st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**31))
def test_the_batch_s_largest_are_found_wherever_they_are(n: int, width: int, k: int, seed: int) -> None:
    scores = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    scores[0] += 3  # one row takes more than its part
    k = min(k, width)
    values, columns = batch_top_k(scores, k)
    bar = scores.flatten().sort(descending=True).values[n * k - 1]
    assert torch.equal(Codes.of(values, columns, width).dense(), scores * ((scores >= bar) & (scores > 0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_decoding_keeps_the_dtype_of_the_rows(dtype: torch.dtype) -> None:
    codes = Codes.of(torch.tensor([[2.0, 0.0]]), torch.tensor([[1, 0]]), 3)
    rows = torch.eye(3).to(dtype)
    assert codes.combine(rows).dtype == dtype
    assert codes.combine(rows).tolist() == [[0.0, 2.0, 0.0]]
    assert len(codes.values) == 1  # what is not above 0 is not active


def test_columns_are_those_of_the_dense_matrix() -> None:
    dense = torch.tensor([[0.0, 2.0, 0.0, 1.0], [3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    codes = Codes.where(dense, dense > 0)
    assert torch.equal(codes.columns(torch.tensor([3, 0, 2])), dense[:, [3, 0, 2]])
