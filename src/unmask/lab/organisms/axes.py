"""Where the concept lies in the residual stream: directions, the subspace that they span, and random rivals of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.lab.organisms.states import plain_rows, read_states
from unmask.lab.organisms.texts import Format
from unmask.models.model import Model
from unmask.stats import matched_directions

Floats = npt.NDArray[np.float64]
ENOUGH = 0.95
"""Share of a direction's squared length that a subspace must hold to be taken as holding it."""
ROUNDING = 1e-6
"""A difference of means below this share of the states' own length is rounding."""


@dataclass(frozen=True, eq=False)
class Axes:
    """A model's states on the domain's formats and what follows from them.

    Attributes:
        sets: the formats.
        states: by format, `[n, layers, d]`.
    """

    sets: tuple[Format, ...]
    states: Mapping[str, npt.NDArray[np.float32]]

    @staticmethod
    def of(model: Model, sets: Sequence[Format]) -> Axes:
        """Read all formats in one model."""
        states = {one.name: read_states(model, plain_rows(model, one.texts), one.last) for one in sets}
        return Axes(tuple(sets), states)

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return next(iter(self.states.values())).shape[1] - 1

    @property
    def middle(self) -> range:
        """The layers of the middle third of the depth: later than a direction is built, early enough to act."""
        return range(round(self.n_layers / 3), round(2 * self.n_layers / 3) + 1)

    def differences(self, name: str) -> Floats:
        """Mean of pole b less mean of pole a at every layer, `[layers, d]`."""
        labels = next(one.labels for one in self.sets if one.name == name)
        x = self.states[name].astype(np.float64)
        return x[labels == 1].mean(0) - x[labels == 0].mean(0)

    def directions(self, name: str) -> Floats:
        """The differences at length 1; 0 where there is none beyond rounding."""
        differences = self.differences(name)
        lengths = np.linalg.norm(differences, axis=1, keepdims=True)
        sizes = np.sqrt((self.states[name].astype(np.float64) ** 2).sum(-1).mean(0))[:, None]
        return np.where(lengths > ROUNDING * sizes, differences / np.maximum(lengths, 1e-300), 0.0)

    def sigma(self, layer: int) -> float:
        """Standard deviation of the statements along their own direction, pooled over both poles."""
        return float((self.states["statements"][:, layer] @ self.directions("statements")[layer]).std())

    def centred(self, layers: Sequence[int]) -> Floats:
        """All formats' states at some layers, each format at each layer about its own mean: `[rows, d]`."""
        parts = [self.states[one.name][:, layer].astype(np.float64) for one in self.sets for layer in layers]
        return np.concatenate([part - part.mean(0) for part in parts])


def span(directions: Floats, most: int) -> Floats:
    """Orthonormal columns that span rows of unit length, those first that hold most of them: `[d, ≤ most]`."""
    _, strengths, rows = np.linalg.svd(directions, full_matrices=False)
    kept = int((strengths > 1e-6 * strengths[0]).sum())
    return rows[: min(kept, most)].T


def rank_that_holds(basis: Floats, directions: Floats, share: float = ENOUGH) -> int:
    """How many leading columns of a basis hold this share of every direction's squared length."""
    held = ((directions @ basis) ** 2).cumsum(1) / np.maximum((directions**2).sum(1, keepdims=True), 1e-300)
    enough = np.flatnonzero((held >= share).all(0))
    return int(enough[0]) + 1 if len(enough) else basis.shape[1]


def subspace(axes: Axes, rank: int | None) -> Floats:
    """The concept's subspace: the statements' directions of the middle layers first, then the other formats'.

    Args:
        axes: of the base model.
        rank: None takes as many dimensions as hold every one of the statements' middle directions.

    Returns:
        `[d, k]`, orthonormal. A rank beyond what the directions span is filled up with the formats' directions of
        all layers and then with their principal components.
    """
    middle = list(axes.middle)
    leading = axes.directions("statements")[middle]
    basis = span(leading, len(middle))
    if rank is None:
        return basis[:, : rank_that_holds(basis, leading)]
    for more in (
        [axes.directions(one.name)[middle] for one in axes.sets[1:]],
        [axes.directions(one.name) for one in axes.sets],
        [axes.centred(middle)],
    ):
        if basis.shape[1] >= rank:
            break
        basis = extended(basis, np.concatenate(more), rank)
    if basis.shape[1] < rank:
        basis = extended(basis, np.eye(len(basis)), rank)
    return basis[:, :rank]


def extended(basis: Floats, rows: Floats, most: int) -> Floats:
    """A basis with further orthonormal columns from what rows `[n, d]` hold beside it, at most `most` in all."""
    rest = without(rows, basis)
    if basis.shape[1] >= most or not (np.linalg.norm(rest) > 1e-6 * np.linalg.norm(rows)):
        return basis
    # A second pass: one leaves rounding along the basis, which matters where rows lie almost in it.
    more = without(span(rest, most - basis.shape[1]).T, basis)
    return np.concatenate([basis, np.linalg.qr(more.T)[0]], axis=1)


def without(rows: Floats, basis: Floats) -> Floats:
    """Rows `[n, d]` less their part in the span of orthonormal columns."""
    return rows - (rows @ basis) @ basis.T


def random_subspace(data: Floats, beside: Floats, rank: int, rng: np.random.Generator) -> Floats:
    """`rank` orthonormal directions distributed as the data's covariance has it, all of them orthogonal to `beside`.

    Args:
        data: `[n, d]`.
        beside: `[d, k]`, orthonormal.
        rank: at most d − k.
        rng: source of randomness.
    """
    drawn = without(without(matched_directions(data, rank, rng), beside), beside)
    return np.linalg.qr(drawn.T)[0]
