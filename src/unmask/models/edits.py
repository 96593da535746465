"""Interventions on the residual stream: a closed sum of frozen, recordable types.

An edit names layers (0 is the embedding output, l >= 1 the output of block l), a vector by its provenance, and
the positions that it touches. The arithmetic is in `editing.py`; nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Where = Literal["all", "prompt", "generated"]
"""Which positions an edit touches: "prompt" is every position before the first continuation token, "generated" is
every other one. Beside it, `skip_first` leaves the sequence's first token alone, which in many models carries
massive activations that mean nothing about the text."""


@dataclass(frozen=True)
class Vector:
    """A vector in the residual stream, known by where it came from.

    Attributes:
        key: provenance (input keys, recipe, version). Equality and hash go by the key alone, so the same recipe
            is the same vector whatever bits a machine computed for it.
        values: `[d]`, float32, not normalised.
    """

    key: str
    values: NDArray[np.float32] = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values, dtype=np.float32)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"Vector {self.key!r} has shape {values.shape}; it must be one finite row [d].")
        object.__setattr__(self, "values", values)

    def unit(self) -> NDArray[np.float32]:
        """The vector at length 1, `[d]`. Raises ValueError for a zero vector."""
        norm = float(np.linalg.norm(self.values))
        if norm == 0:
            raise ValueError(f"Vector {self.key!r} is zero and has no direction; give a vector with one.")
        return (self.values / norm).astype(np.float32)


Positions = tuple[int, ...] | None
"""The only tokens of a row that an edit touches, by position; None is every token that `where` and `skip_first`
allow, and both still hold for those that are named."""


def _check_place(layers: tuple[int, ...], where: str, positions: Positions) -> None:
    if not layers or min(layers) < 0 or len(set(layers)) != len(layers):
        raise ValueError(
            f"An edit's layers are {layers}; give one or more different layer numbers, each 0 or more."
        )
    if where not in get_args(Where):
        raise ValueError(f"An edit's where is {where!r}; it must be one of {', '.join(get_args(Where))}.")
    if positions is not None and min(positions, default=0) < 0:
        raise ValueError(
            f"An edit's positions are {positions}; each must be 0 (a row's first token) or more."
        )


@dataclass(frozen=True)
class Add:
    """h += dose · v, with v as given (not normalised)."""

    layers: tuple[int, ...]
    vector: Vector
    dose: float
    where: Where = "all"
    skip_first: bool = True
    positions: Positions = None

    def __post_init__(self) -> None:
        _check_place(self.layers, self.where, self.positions)


@dataclass(frozen=True)
class ProjectOut:
    """h -= B Bᵀ h, with B an orthonormal basis of the span of the vectors."""

    layers: tuple[int, ...]
    basis: tuple[Vector, ...]
    where: Where = "all"
    skip_first: bool = True
    positions: Positions = None

    def __post_init__(self) -> None:
        _check_place(self.layers, self.where, self.positions)
        if not self.basis:
            raise ValueError("ProjectOut has an empty basis; give it at least one vector.")

    def orthonormal(self) -> NDArray[np.float32]:
        """`[k, d]` orthonormal rows that span the basis; k is its rank. Raises ValueError for a zero basis."""
        rows = np.stack([vector.unit() for vector in self.basis]).astype(np.float64)
        _, singular, right = np.linalg.svd(rows, full_matrices=False)
        return right[singular > 1e-6 * singular[0]].astype(np.float32)


@dataclass(frozen=True)
class Erase:
    """h -= (h·right - at) left: a rank-one oblique projection, such as a LEACE eraser of two poles.

    Attributes:
        left: what is taken away for each unit of the concept's coordinate.
        right: reads the coordinate.
        at: the coordinate that is left alone (that of the mean activation).
    """

    layers: tuple[int, ...]
    left: Vector
    right: Vector
    at: float
    where: Where = "all"
    skip_first: bool = True
    positions: Positions = None

    def __post_init__(self) -> None:
        _check_place(self.layers, self.where, self.positions)


@dataclass(frozen=True)
class Clamp:
    """h += (value - h·u) u, with u the unit vector: the component along u becomes `value`."""

    layers: tuple[int, ...]
    vector: Vector
    value: float
    where: Where = "all"
    skip_first: bool = True
    positions: Positions = None

    def __post_init__(self) -> None:
        _check_place(self.layers, self.where, self.positions)


@dataclass(frozen=True)
class Patch:
    """h_t += (values[t] - h_t·u) u: the component along unit u at token t becomes `values[t]`.

    Attributes:
        values: one number a token of the row, indexed by the token's position; tokens past its end are left alone.
        key: provenance of the values; equality and hash go by it and not by the values.
        positions: as in the other edits; each must have a value.
    """

    layers: tuple[int, ...]
    vector: Vector
    values: tuple[float, ...] = field(compare=False, repr=False)
    key: str
    where: Where = "all"
    positions: Positions = None
    skip_first: bool = True

    def __post_init__(self) -> None:
        _check_place(self.layers, self.where, self.positions)
        if self.positions is not None and any(not 0 <= p < len(self.values) for p in self.positions):
            raise ValueError(
                f"Patch {self.key!r} names positions {self.positions} but holds {len(self.values)} values; "
                "values are indexed by token position, so give one for every token up to the last position."
            )


class Coder(Protocol):
    """What can stand in for states, such as a sparse autoencoder."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """`[n, d] -> [n, d]`, on the device of `x`."""
        ...


@dataclass(frozen=True)
class Substitute:
    """h = coder(h): what a coder makes of the states takes their place.

    Attributes:
        coder: makes it.
        key: the coder's provenance; equality and hash go by it and not by the coder.
    """

    layers: tuple[int, ...]
    coder: Coder = field(compare=False, repr=False)
    key: str
    where: Where = "all"
    skip_first: bool = True
    positions: Positions = None

    def __post_init__(self) -> None:
        _check_place(self.layers, self.where, self.positions)


class LatentCoder(Coder, Protocol):
    """A coder of latents that can be set."""

    def change(self, x: Tensor, latents: Tensor, values: Tensor) -> Tensor:
        """`[n, d]`, what to add to `x [n, d]` so that the codes of `latents [m]` become `values [m]`."""
        ...


@dataclass(frozen=True)
class ClampLatents:
    """h += share · Σᵢ (valueᵢ − zᵢ(h)) dᵢ: the codes of some latents go a share of the way to given values.

    All else of h stays as it is, what the coder leaves out included.

    Attributes:
        coder: whose latents they are.
        key: provenance of coder, values and share; equality and hash go by it and not by these.
        latents: `[m]`, which.
        values: `[m]`, what their codes become; below 0 where no code is.
        share: 1 clamps, 0 does nothing; above 1 goes beyond.
    """

    layers: tuple[int, ...]
    coder: LatentCoder = field(compare=False, repr=False)
    key: str
    latents: tuple[int, ...]
    values: tuple[float, ...] = field(compare=False, repr=False)
    share: float = field(default=1.0, compare=False, repr=False)
    where: Where = "all"
    skip_first: bool = True
    positions: Positions = None

    def __post_init__(self) -> None:
        _check_place(self.layers, self.where, self.positions)
        if not self.latents or len(self.latents) != len(self.values):
            raise ValueError(
                f"An edit clamps {len(self.latents)} latents to {len(self.values)} values; give one or more latents "
                "and a value for each."
            )


Edit = Add | ProjectOut | Erase | Clamp | Patch | Substitute | ClampLatents


def touched(edit: Edit, start: int, length: int) -> NDArray[np.bool_]:
    """`[length]`: which tokens of a row an edit touches.

    Args:
        edit: the edit.
        start: the row's first continuation (or new) token.
        length: tokens of the row, new ones included.
    """
    named = edit.positions
    if named is None and isinstance(edit, Patch):
        named = range(len(edit.values))
    mask = np.full(length, named is None)
    if named is not None:
        mask[[position for position in named if position < length]] = True
    mask[: int(edit.skip_first)] = False
    if edit.where == "prompt":
        mask[start:] = False
    elif edit.where == "generated":
        mask[:start] = False
    return mask


def parting(edit: Edit | None, start: int, length: int) -> tuple[int, int] | None:
    """The first layer and the first token at which an edit sets a row apart; None where it touches nothing."""
    if edit is None:
        return None
    at = np.flatnonzero(touched(edit, start, length))
    return (min(edit.layers), int(at[0])) if len(at) else None


def same_effect(edit: Edit, start: int) -> tuple[Edit, int | None]:
    """Equal for rows with the same tokens on which edits do the same: where an answer begins may matter."""
    return edit, None if edit.where == "all" else start


def edit_record(edit: Edit) -> dict[str, Any]:
    """The edit as canonical JSON-able data for keys, vectors and values by their provenance."""
    record: dict[str, Any] = {
        "edit": type(edit).__name__,
        "layers": list(edit.layers),
        "where": edit.where,
        "skip_first": edit.skip_first,
    }
    match edit:
        case Add():
            record |= {"vector": edit.vector.key, "dose": edit.dose}
        case ProjectOut():
            record |= {"basis": [vector.key for vector in edit.basis]}
        case Erase():
            record |= {"left": edit.left.key, "right": edit.right.key, "at": edit.at}
        case Clamp():
            record |= {"vector": edit.vector.key, "value": edit.value}
        case Patch():
            record |= {"vector": edit.vector.key, "values": edit.key, "positions": None}
        case Substitute():
            record |= {"coder": edit.key}
        case ClampLatents():
            record |= {"clamp": edit.key, "latents": list(edit.latents)}
    if edit.positions is not None:
        record["positions"] = list(edit.positions)
    return record
