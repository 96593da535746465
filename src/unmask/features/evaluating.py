"""How well a dictionary fits a model: what variance it leaves, and what the model loses when it reads x̂ in place of x.

    FVU            Σ‖x − x̂‖² / Σ‖x − x̄‖², with x̄ the mean of all the tokens that were read
    CE recovered   (CE_zero − CE_x̂) / (CE_zero − CE_x), next-token cross-entropies with the layer's states set to zero,
                   reconstructed, and as they are

Setting a residual stream to zero makes a model much worse than any reconstruction does, so nearly every dictionary
recovers nearly all of that. What the reconstruction costs, in nats a token, stands beside it.

Source: Gao et al. 2406.04093; the trap of averaging batches' shares and of variance about zero: SAELens' discussion of
explained variance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.errors import DictionaryError
from unmask.models.edits import Coder, Substitute
from unmask.models.model import Model
from unmask.models.tokens import Tokens
from unmask.runner.pieces import cut

_AT_ONCE = 16
"""Rows in a forward pass."""


@dataclass(frozen=True)
class Fit:
    """How well a dictionary fits one model on some texts.

    Attributes:
        tokens: how many were read, the first of every row left out.
        fvu: the share of variance that is left.
        l0: latents active on a token, on average.
        dead: the share of latents that fired on none of them.
        cross_entropy: nats a token, with the states as they are.
        reconstructed: nats a token, with x̂ in their place.
        zeroed: nats a token, with 0 in their place.
    """

    tokens: int
    fvu: float
    l0: float
    dead: float
    cross_entropy: float
    reconstructed: float
    zeroed: float

    @property
    def recovered(self) -> float:
        """CE recovered, 1 where nothing is lost; NaN where zeroing costs nothing."""
        lost = self.zeroed - self.cross_entropy
        return (self.zeroed - self.reconstructed) / lost if lost > 0 else float("nan")

    @property
    def cost(self) -> float:
        """Nats a token that reconstruction costs."""
        return self.reconstructed - self.cross_entropy

    def record(self) -> dict[str, Any]:
        """As JSON."""
        recovered = self.recovered
        return {**asdict(self), "recovered": recovered if isfinite(recovered) else None, "cost": self.cost}


class FitGatherer:
    """Sums over tokens, so that shares are of all of them and not means of batches' shares."""

    def __init__(self, sae: SparseAutoencoder) -> None:
        self.sae = sae
        self.n = 0
        self.active = 0
        self.fired = torch.zeros(sae.n_latents, dtype=torch.bool)
        self._centre: Tensor | None = None
        self._sum = torch.zeros(sae.d_model, dtype=torch.float64)
        self._squares = 0.0
        self._left = 0.0

    def update(self, x: Tensor) -> FitGatherer:
        """Add tokens `[n, d]`."""
        codes = self.sae.encode(x)
        exact = x.double()
        if self._centre is None:
            self._centre = exact.mean(0)  # squares are summed about it: about 0 they would drown what varies
        about = exact - self._centre
        self._sum += about.sum(0)
        self._squares += float(about.pow(2).sum())
        self._left += float((exact - self.sae.decode(codes).double()).pow(2).sum())
        self.n += len(x)
        self.active += len(codes.values)
        self.fired[codes.latents] = True
        return self

    @property
    def fvu(self) -> float:
        """The share of variance that is left. Raises DictionaryError where nothing varies."""
        varies = self._squares - float(self._sum.pow(2).sum()) / max(self.n, 1)
        if varies <= 0:
            raise DictionaryError("The texts' activations do not vary; give more texts.")
        return self._left / varies


class Zeros:
    """A coder that leaves nothing."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x)


def fit_of(
    sae: SparseAutoencoder, model: Model, layer: int, documents: Sequence[str], tokens: int, window: int = 256
) -> Fit:
    """How well an autoencoder fits a model on the first documents, until so many tokens were read.

    Args:
        sae: in float32.
        model: whose states it is meant for.
        layer: of these.
        documents: texts.
        tokens: about how many to read.
        window: most tokens of a row; what the model takes, where that is less.

    Raises:
        DictionaryError: width or layer do not fit the model.
        ModelError: no text is long enough.
    """
    check_fits(sae, model, layer)
    pieces = cut([model], documents, min(window, model.max_length))
    gathered = FitGatherer(sae)
    begun = max(len(pieces.opening), 1)  # a row's first states are of no text
    there = sae if model.device == "cpu" else sae.to(device=model.device)
    substitutes: Mapping[str, Coder | None] = {"as it is": None, "reconstructed": there, "zeroed": Zeros()}
    nats = dict.fromkeys(substitutes, 0.0)
    scored = 0
    for first in range(0, len(pieces.lengths), _AT_ONCE):
        rows = [pieces.row(piece) for piece in range(first, min(first + _AT_ONCE, len(pieces.lengths)))]
        states = model.read(rows, (layer,), "each")
        gathered.update(torch.cat([torch.from_numpy(found[begun:, 0]) for found in states]))
        continued = [Tokens(row.ids, row.content, 1) for row in rows]
        for name, coder in substitutes.items():
            edit = None if coder is None else Substitute((layer,), coder, name)
            nats[name] -= sum(float(found.sum()) for found in model.score(continued, [edit] * len(rows)))
        scored += sum(len(row) - 1 for row in rows)
        if gathered.n >= tokens:
            break
    return Fit(
        gathered.n,
        gathered.fvu,
        gathered.active / gathered.n,
        1 - float(gathered.fired.float().mean()),
        *(nats[name] / scored for name in substitutes),
    )


def check_fits(sae: SparseAutoencoder, model: Model, layer: int) -> None:
    """See that an autoencoder can read a model's layer. Raises DictionaryError where width or layer do not fit."""
    if sae.d_model != model.d_model:
        raise DictionaryError(
            f"The autoencoder reads states that are {sae.d_model} wide, but those of {model.name} are "
            f"{model.d_model}; take one that was trained on this model."
        )
    if not 0 <= layer <= model.n_layers:
        raise DictionaryError(
            f"The autoencoder is of layer {layer}, but {model.name} has layers 0 to {model.n_layers}; take one that "
            "was trained on this model."
        )
