"""The arithmetic of edits, on any tokens of any rows of a batch at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.models.edits import (
    Add,
    Clamp,
    ClampLatents,
    Edit,
    Erase,
    ProjectOut,
    Substitute,
    parting,
    same_effect,
    touched,
)
from unmask.models.errors import ModelError
from unmask.models.tree import Path

Ints = NDArray[np.int64]
Change = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(states `[n, d]` in fp32, which edit of the group `[n]`, position `[n]`) to what to add `[n, d]`."""


@dataclass(frozen=True, eq=False)
class _Group:
    """The edits of one kind and of the same layers.

    Attributes:
        member: `[rows]`, a row's place among them; −1 where its edit is of another group.
    """

    layers: tuple[int, ...]
    member: Ints
    change: Change


def check_one_each(edits: Sequence[Edit | None] | None, rows: Sequence[object]) -> None:
    """See that every row has its edit or None. Raises ModelError where there are more or fewer."""
    if edits is not None and len(edits) != len(rows):
        raise ModelError(
            f"There are {len(edits)} edits for {len(rows)} rows; give one a row, None where there is none."
        )


class RowEdits:
    """One edit or None a row, ready to be applied to tokens of any of the rows.

    Args:
        edits: one a row, of any kinds; None for none at all.
        starts: each row's first continuation (or new) token.
        length: of the longest row, new tokens included.
        width: of the residual stream.
        n_layers: blocks of the model.
        device: where the states are.

    Raises:
        ModelError: not one a row, a layer that the model lacks, or a vector of the wrong width.
    """

    def __init__(
        self,
        edits: Sequence[Edit | None] | None,
        starts: Sequence[int],
        length: int,
        width: int,
        n_layers: int,
        device: torch.device,
    ) -> None:
        check_one_each(edits, starts)
        self._edits = list(edits) if edits is not None else [None] * len(starts)
        given = [edit for edit in self._edits if edit is not None]
        beyond = [layer for edit in given for layer in edit.layers if layer > n_layers]
        if beyond:
            raise ModelError(f"An edit names layer {beyond[0]}, but the model's layers are 0 to {n_layers}.")
        self._starts = starts
        self._device = device
        kinds: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
        effects: dict[Any, int] = {}
        self._effect = np.full(len(starts), -1, dtype=np.int64)
        for row, (edit, start) in enumerate(zip(self._edits, starts, strict=True)):
            if edit is not None:
                kinds[type(edit), edit.layers].append(row)
                self._effect[row] = effects.setdefault(same_effect(edit, start), len(effects))
        self._groups = [self._group(rows, width) for rows in kinds.values()]
        self.layers = frozenset(layer for group in self._groups for layer in group.layers)
        self._touched = np.zeros(
            (len(effects) + 1, length), dtype=bool
        )  # the last is that of rows without an edit
        for row, effect in enumerate(self._effect):
            edit = self._edits[row]
            if edit is not None:
                self._touched[effect] = touched(edit, starts[row], length)

    def _group(self, rows: Sequence[int], width: int) -> _Group:
        edits: list[Any] = [self._edits[row] for row in rows]
        distinct = list(dict.fromkeys(edits))
        place = {edit: i for i, edit in enumerate(distinct)}
        member = np.full(len(self._edits), -1, dtype=np.int64)
        member[list(rows)] = [place[edit] for edit in edits]
        return _Group(distinct[0].layers, member, _change(distinct, width, self._device))

    def path(self, row: int, ids: Sequence[int], depth: int) -> Path:
        """What a row of these token ids, to this depth, asks of a pass."""
        apart = parting(self._edits[row], self._starts[row], len(ids))
        if apart is None:
            return Path(tuple(ids), depth)
        return Path(tuple(ids), depth, int(self._effect[row]), *apart)

    def apply(self, layer: int, states: Tensor, rows: Ints, positions: Ints) -> Tensor:
        """States `[n, d]` of a layer after its edits, given each token's row and position `[n]`."""
        for group in self._groups:
            if layer not in group.layers:
                continue
            mine = group.member[rows]
            at = np.flatnonzero((mine >= 0) & (positions >= 0) & self._touched[self._effect[rows], positions])
            if not len(at):
                continue
            here, which, where = (torch.from_numpy(a).to(self._device) for a in (at, mine[at], positions[at]))
            kept = states[here].float()
            changed = (kept + group.change(kept, which, where)).to(states.dtype)
            states = states.index_copy(0, here, changed)
        return states


def _change(edits: Sequence[Any], width: int, device: torch.device) -> Change:
    """The edits, all of one kind, as one batched function."""

    def tensor(rows: Sequence[Any]) -> Tensor:
        return torch.from_numpy(np.stack(rows)).to(device)

    def numbers(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    first = edits[0]
    if isinstance(first, Add):
        # Many doses share a vector; its rows are kept once.
        vectors = list(dict.fromkeys(edit.vector for edit in edits))
        which_vector = torch.tensor([vectors.index(edit.vector) for edit in edits], device=device)
        rows = tensor([_fits(vector.values, width) for vector in vectors])
        doses = numbers([edit.dose for edit in edits])
        return lambda states, which, at: doses[which][:, None] * rows[which_vector[which]]
    if isinstance(first, ProjectOut):
        bases = [torch.from_numpy(_fits(edit.orthonormal(), width)).to(device) for edit in edits]
        return _one_by_one(lambda number, states: -(states @ bases[number].mT) @ bases[number])
    if isinstance(first, Erase):
        lefts = tensor([_fits(edit.left.values, width) for edit in edits])
        rights = tensor([_fits(edit.right.values, width) for edit in edits])
        places = numbers([edit.at for edit in edits])
        return lambda states, which, at: (
            (places[which] - (states * rights[which]).sum(-1))[:, None] * lefts[which]
        )
    if isinstance(first, Substitute):
        return _one_by_one(lambda number, states: edits[number].coder.reconstruct(states).to(states) - states)
    if isinstance(first, ClampLatents):
        latents = [torch.tensor(edit.latents, device=device) for edit in edits]
        targets = [numbers(edit.values) for edit in edits]
        return _one_by_one(
            lambda number, states: (
                edits[number].share
                * edits[number].coder.change(states, latents[number], targets[number]).to(states)
            )
        )
    units = tensor([_fits(edit.vector.unit(), width) for edit in edits])
    if isinstance(first, Clamp):
        values = numbers([edit.value for edit in edits])
        return lambda states, which, at: _set_component(states, units[which], values[which])
    longest = max(1, *(len(edit.values) for edit in edits))
    table = tensor(
        [
            np.pad(np.float32(edit.values), (0, longest - len(edit.values))).astype(np.float32)
            for edit in edits
        ]
    )
    return lambda states, which, at: _set_component(states, units[which], table[which, at])


def _one_by_one(change: Callable[[int, Tensor], Tensor]) -> Change:
    """Edits that are no single product: what each changes of the states that are its own, `[n, d]` to `[n, d]`."""

    def changed(states: Tensor, which: Tensor, at: Tensor) -> Tensor:
        whole = torch.empty_like(states)
        for number in which.unique().tolist():
            here = which == number
            whole[here] = change(number, states[here])
        return whole

    return changed


def _set_component(states: Tensor, units: Tensor, values: Tensor) -> Tensor:
    """`[n, d]` to add so that the component along `units [n, d]` becomes `values [n]`."""
    return (values - (states * units).sum(-1))[:, None] * units


def _fits(rows: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    if rows.shape[-1] != width:
        raise ModelError(
            f"An edit's vector has {rows.shape[-1]} numbers, but the model's residual stream has {width}; "
            "use a direction that was found in this model."
        )
    return rows
