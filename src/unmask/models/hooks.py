"""Reading and rewriting the residual stream while a model runs; every hook comes off, whatever happens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.models.anatomy import Anatomy
from unmask.models.edits import Add, Clamp, Edit, Erase, Patch, ProjectOut, edit_shape
from unmask.models.errors import ModelError
from unmask.models.taps import Visit, hooked, on_layer


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each row's tokens stand in a padded batch.

    Attributes:
        lengths: `[B]`, tokens in a row; in generation, before any new token.
        starts: `[B]`, position of the row's first continuation (or new) token.
        offsets: `[B]`, padding columns left of the row; 0 with right padding.
    """

    lengths: Tensor
    starts: Tensor
    offsets: Tensor

    def positions(self, first: int, count: int) -> Tensor:
        """`[B, count]`: positions in their own rows of the `count` columns from `first`; negative in left padding."""
        columns = torch.arange(first, first + count, device=self.offsets.device)
        return columns[None] - self.offsets[:, None]


class _Enough(Exception):
    """The deepest layer that anyone asked for has been seen."""


@contextmanager
def watching(
    anatomy: Anatomy, layers: Sequence[int], take: Callable[[int, Tensor], None], stop: bool = True
) -> Generator[None]:
    """Hand `take(layer, states [B, T, d])` each of the layers, after any edit that was put on before.

    With `stop`, a forward pass inside ends at the deepest layer, and so does the `with` block.
    """
    deepest = max(layers)

    def visitor(layer: int) -> Visit:
        def visit(states: Tensor) -> None:
            take(layer, states)
            if stop and layer == deepest:
                raise _Enough

        return visit

    try:
        with hooked([on_layer(anatomy.blocks, layer, visitor(layer)) for layer in layers]):
            yield
    except _Enough:
        pass


@contextmanager
def editing(anatomy: Anatomy, edits: Sequence[Edit | None] | None, layout: Layout) -> Generator[None]:
    """Apply one edit a row (None leaves a row alone) in every forward pass inside the block.

    Successive passes are taken as successive columns of one sequence, as generation with a cache makes them.

    Raises:
        ModelError: edits of different shapes, a layer that the model lacks, or a vector of the wrong width.
    """
    if edits is None or all(edit is None for edit in edits):
        yield
        return
    shape = _one_edit(anatomy, edits, len(layout.lengths))
    change = _change(edits, anatomy.d_model, layout)
    named = _named_positions(edits, layout.offsets.device)
    columns: defaultdict[int, int] = defaultdict(int)

    def visitor(layer: int) -> Visit:
        def visit(states: Tensor) -> Tensor:
            positions = layout.positions(columns[layer], states.shape[1])
            columns[layer] += states.shape[1]
            mask = _look_up(named, positions) & (positions >= int(shape.skip_first))
            if shape.where == "prompt":
                mask &= positions < layout.starts[:, None]
            elif shape.where == "generated":
                mask &= positions >= layout.starts[:, None]
            delta = change(states.float(), positions)
            return torch.where(mask[..., None], (states.float() + delta).to(states.dtype), states)

        return visit

    with hooked([on_layer(anatomy.blocks, layer, visitor(layer)) for layer in shape.layers]):
        yield


def _one_edit(anatomy: Anatomy, edits: Sequence[Edit | None], rows: int) -> Edit:
    """Check that the rows' edits can share a pass, and give one that has their common shape."""
    if len(edits) != rows:
        raise ModelError(
            f"There are {len(edits)} edits for {rows} rows; give one a row, None where there is none."
        )
    given = [edit for edit in edits if edit is not None]
    shapes = {edit_shape(edit) for edit in given}
    if len(shapes) > 1:
        raise ModelError(
            f"The rows of one batch carry edits of different shapes ({', '.join(map(str, sorted(shapes, key=str)))}); "
            "kind, layers, where and skip_first must be the same: split the batch."
        )
    beyond = [layer for layer in given[0].layers if layer > anatomy.n_layers]
    if beyond:
        raise ModelError(
            f"An edit names layer {beyond[0]}, but the model's layers are 0 to {anatomy.n_layers}."
        )
    return given[0]


def _named_positions(edits: Sequence[Edit | None], device: torch.device) -> Tensor:
    """`[B, P + 1]` bool: the positions that each row's edit may touch; the last column stands for all from P on."""
    named = [_positions_of(edit) for edit in edits]
    beyond = max((max(row) + 1 for row in named if row), default=0)
    table = np.zeros((len(edits), beyond + 1), dtype=bool)
    for row, positions in zip(table, named, strict=True):
        row[slice(None) if positions is None else list(positions)] = True
    return torch.from_numpy(table).to(device)


def _positions_of(edit: Edit | None) -> Sequence[int] | None:
    """The positions that an edit names (a Patch those that it has values for); None is all of them."""
    if edit is None:
        return ()
    if isinstance(edit, Patch) and edit.positions is None:
        return range(len(edit.values))
    return edit.positions


def _look_up(table: Tensor, positions: Tensor) -> Tensor:
    """`[B, T]` entries of a table `[B, P]` at positions `[B, T]`; positions outside it take its nearest column."""
    return table.gather(1, positions.clamp(0, table.shape[1] - 1))


Change = Callable[[Tensor, Tensor], Tensor]
"""(states `[B, T, d]` in fp32, positions `[B, T]`) to what to add."""


def _change(edits: Sequence[Edit | None], width: int, layout: Layout) -> Change:
    """The rows' edits as one batched function."""
    device = layout.offsets.device

    def tensor(rows: Sequence[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.stack(rows)).to(device)

    zero = np.zeros(width, dtype=np.float32)
    given = next(
        edit for edit in edits if edit is not None
    )  # `_one_edit` saw that the others are of its kind
    if isinstance(given, Add):
        vectors = tensor([_fits(e.vector.values, width) if isinstance(e, Add) else zero for e in edits])
        doses = torch.tensor([e.dose if isinstance(e, Add) else 0.0 for e in edits], device=device)
        added = (doses[:, None] * vectors)[:, None]
        return lambda states, positions: added
    if isinstance(given, ProjectOut):
        rows = [_fits(e.orthonormal(), width) if isinstance(e, ProjectOut) else zero[None] for e in edits]
        rank = max(len(row) for row in rows)
        basis = tensor([np.pad(row, ((0, rank - len(row)), (0, 0))) for row in rows])
        return lambda states, positions: -(states @ basis.mT) @ basis
    if isinstance(given, Erase):
        lefts = tensor([_fits(e.left.values, width) if isinstance(e, Erase) else zero for e in edits])
        rights = tensor([_fits(e.right.values, width) if isinstance(e, Erase) else zero for e in edits])
        at = torch.tensor([e.at if isinstance(e, Erase) else 0.0 for e in edits], device=device)
        return lambda states, positions: (
            (at[:, None] - (states @ rights[..., None])[..., 0])[..., None] * lefts[:, None]
        )
    units = tensor([_fits(e.vector.unit(), width) if isinstance(e, Clamp | Patch) else zero for e in edits])
    if isinstance(given, Clamp):
        values = torch.tensor([e.value if isinstance(e, Clamp) else 0.0 for e in edits], device=device)
        return lambda states, positions: _set_component(states, units, values[:, None])
    table = _patch_values([e if isinstance(e, Patch) else None for e in edits], device)
    return lambda states, positions: _set_component(states, units, _look_up(table, positions))


def _set_component(states: Tensor, units: Tensor, values: Tensor) -> Tensor:
    """`[B, T, d]` to add so that the component along `units [B, d]` becomes `values [B, T or 1]`."""
    components = (states @ units[..., None])[..., 0]
    return (values - components)[..., None] * units[:, None]


def _patch_values(edits: Sequence[Patch | None], device: torch.device) -> Tensor:
    """Values `[B, P]` by position, 0 where a row has none."""
    longest = max(len(edit.values) for edit in edits if edit is not None)
    values = np.zeros((len(edits), max(longest, 1)), dtype=np.float32)
    for row, edit in zip(values, edits, strict=True):
        if edit is not None:
            row[: len(edit.values)] = edit.values
    return torch.from_numpy(values).to(device)


def _fits(rows: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    if rows.shape[-1] != width:
        raise ModelError(
            f"An edit's vector has {rows.shape[-1]} numbers, but the model's residual stream has {width}; "
            "use a direction that was found in this model."
        )
    return rows
