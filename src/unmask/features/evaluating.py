"""How well a dictionary fits a model: what variance it leaves, and what the model loses when it reads x̂ in place of x.

    FVU            Σ‖x − x̂‖² / Σ‖x − x̄‖², with x̄ the mean of all the tokens that were read
    CE recovered   (CE_zero − CE_x̂) / (CE_zero − CE_x), next-token cross-entropies with the layer's states set to zero,
                   reconstructed, and as they are

Setting a residual stream to zero makes a model much worse than any reconstruction does, so nearly every dictionary
recovers nearly all of that. What the reconstruction costs, in nats a token, stands beside it.

A crosscoder reads two models at once and is judged on each: x̂ is that model's half of what it makes of both.

Source: Gao et al. 2406.04093; the trap of averaging batches' shares and of variance about zero: SAELens' discussion of
explained variance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.crosscoder import ALIGNED, BASE, Crosscoder
from unmask.features.errors import DictionaryError
from unmask.features.latent_scaling import LatentScaling, LatentScalingFitter
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
    """Sums over tokens, so that shares are of all of them and not means of batches' shares.

    Attributes:
        dictionary: in float32.
        n: tokens so far.
    """

    def __init__(self, dictionary: SparseAutoencoder | Crosscoder) -> None:
        self.dictionary = dictionary
        self.n = 0
        self._active = 0
        self._fired = torch.zeros(dictionary.n_latents, dtype=torch.bool)
        self._centre = self._sum = self._squares = self._left = torch.zeros(())

    def update(self, x: Tensor) -> FitGatherer:
        """Add tokens `[n, d]`, or `[n, 2, d]` of a crosscoder."""
        codes = self.dictionary.encode(x)
        exact = x.double()
        if not self.n:
            self._centre = exact.mean(0)  # squares are summed about it: about 0 they would drown what varies
        about = exact - self._centre
        self._sum = self._sum + about.sum(0)
        self._squares = self._squares + about.pow(2).sum((0, -1))
        self._left = self._left + (exact - self.dictionary.decode(codes).double()).pow(2).sum((0, -1))
        self.n += len(x)
        self._active += len(codes.values)
        self._fired[codes.latents] = True
        return self

    @property
    def fvu(self) -> tuple[float, ...]:
        """The share of variance that is left, of each model. Raises DictionaryError where nothing varies."""
        varies = self._squares - self._sum.pow(2).sum(-1) / max(self.n, 1)
        if not bool((varies > 0).all()):
            raise DictionaryError("The texts' activations do not vary; give more texts.")
        return tuple((self._left / varies).reshape(-1).tolist())

    @property
    def l0(self) -> float:
        """Latents active on a token, on average."""
        return self._active / self.n

    @property
    def dead(self) -> float:
        """The share of latents that fired on none of the tokens."""
        return 1 - float(self._fired.float().mean())


class Zeros:
    """A coder that leaves nothing."""

    def reconstruct(self, x: Tensor) -> Tensor:
        """Zeros."""
        return torch.zeros_like(x)


class Half:
    """One model's half of a crosscoder's x̂, from its states alone.

    A coder is given states and not which tokens they are of, in an order of the engine's own, and those of a beginning
    that rows share once. So the other model's are found by this one's: those of the token that was nearest when both
    were read. Tokens with the same ids before them have the same states, in either model, and rounding, by which two
    passes differ, is far less than what tells other tokens apart.

    Args:
        crosscoder: on the model's device.
        which: BASE or ALIGNED.
        states: `[n, 2, d]`, both models' on all tokens that may be asked for.
    """

    def __init__(self, crosscoder: Crosscoder, which: int, states: Tensor) -> None:
        self.crosscoder = crosscoder
        self.which = which
        self.states = states
        self.centre = states[:, which].mean(0)  # about 0 distances would drown in rounding

    def reconstruct(self, x: Tensor) -> Tensor:
        """`[n, d] -> [n, d]`."""
        known = self.states[:, self.which] - self.centre
        both = self.states[torch.cdist(x - self.centre, known).argmin(1)]
        both[:, self.which] = x
        return self.crosscoder.reconstruct(both)[:, self.which]


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
    there = sae.to(device=model.device)
    (fit,) = _fits(sae, [model], layer, documents, tokens, window, lambda at, states: there)
    return fit


def fits_of_both(
    crosscoder: Crosscoder,
    models: Sequence[Model],
    layer: int,
    documents: Sequence[str],
    tokens: int,
    window: int = 256,
) -> tuple[tuple[Fit, Fit], LatentScaling]:
    """How well a crosscoder fits each of its models, and which of its latents are one model's alone.

    Args:
        crosscoder: in float32.
        models: base and aligned.
        layer: whose states; the same of both.
        documents: texts.
        tokens: about how many to read of each model.
        window: most tokens of a row; what the models take, where that is less.

    Raises:
        DictionaryError: not two models, models the other way round, or a width or layer that does not fit.
        ModelError: no text is long enough, or the tokenizers split one differently.
    """
    if len(models) != 2:
        raise DictionaryError("A crosscoder reads two models at once; give base and aligned.")
    check_order(crosscoder, [(model.name, model.identity) for model in models])
    there = [crosscoder.to(device=model.device) for model in models]
    scaling = LatentScalingFitter(crosscoder)

    def coder(at: int, states: Tensor) -> Coder:
        return Half(there[at], at, states.to(models[at].device))

    found = _fits(crosscoder, models, layer, documents, tokens, window, coder, scaling.update)
    return (found[BASE], found[ALIGNED]), scaling.result()


def _fits(
    dictionary: SparseAutoencoder | Crosscoder,
    models: Sequence[Model],
    layer: int,
    documents: Sequence[str],
    tokens: int,
    window: int,
    coder: Callable[[int, Tensor], Coder],
    also: Callable[[Tensor], object] = lambda x: None,
) -> list[Fit]:
    """A fit for each model.

    Args:
        coder: stands in for a model, given its place and the batch's states `[n, d]`, or `[n, 2, d]`, of every token
            that may be substituted.
        also: shown what the dictionary is shown.
    """
    for model in models:
        check_fits(dictionary, model.name, model.d_model, model.n_layers, layer)
    pieces = cut(models, documents, min([window, *(model.max_length for model in models)]))
    gathered = FitGatherer(dictionary)
    begun = max(len(pieces.opening), 1)  # a row's first states are of no text
    nats = [[0.0, 0.0, 0.0] for _ in models]  # as it is, with x̂, with 0
    scored = 0
    for first in range(0, len(pieces.lengths), _AT_ONCE):
        rows = [pieces.row(piece) for piece in range(first, min(first + _AT_ONCE, len(pieces.lengths)))]
        read = [model.read(rows, (layer,), "each") for model in models]
        x = _beside(dictionary, read, begun)
        gathered.update(x)
        also(x)
        edited = x if begun == 1 else _beside(dictionary, read, 1)
        continued = [Tokens(row.ids, row.content, 1) for row in rows]
        for at, model in enumerate(models):
            there, zeros = coder(at, edited), Zeros()
            edits = (None, Substitute((layer,), there, "x̂"), Substitute((layer,), zeros, "0"))
            for which, edit in enumerate(edits):
                nats[at][which] -= sum(
                    float(found.sum()) for found in model.score(continued, [edit] * len(rows))
                )
        scored += sum(len(row) - 1 for row in rows)
        if gathered.n >= tokens:
            break
    return [
        Fit(gathered.n, fvu, gathered.l0, gathered.dead, *(total / scored for total in totals))
        for fvu, totals in zip(gathered.fvu, nats, strict=True)
    ]


def _beside(
    dictionary: SparseAutoencoder | Crosscoder, read: Sequence[Sequence[NDArray[np.float32]]], begun: int
) -> Tensor:
    """States `[T, 1, d]` of each model's rows, from token `begun` on, as the dictionary takes them."""
    states = [torch.from_numpy(np.concatenate([row[begun:, 0] for row in rows])) for rows in read]
    return torch.stack(states, 1) if isinstance(dictionary, Crosscoder) else states[0]


def check_order(crosscoder: Crosscoder, models: Sequence[tuple[str, str]]) -> None:
    """See that base and aligned, each a name and an identity, are given as a crosscoder was trained with them.

    Raises:
        DictionaryError: they are the other way round.
    """
    (base, base_identity), (aligned, aligned_identity) = models
    said = crosscoder.facts.get("models")
    known = [one.get("identity") for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    if base_identity != aligned_identity and known == [aligned_identity, base_identity]:
        raise DictionaryError(
            f"The crosscoder was trained with {aligned} as base and {base} as aligned; give base first."
        )


def check_fits(
    dictionary: SparseAutoencoder | Crosscoder, name: str, d_model: int, n_layers: int, layer: int
) -> None:
    """See that a dictionary can read a model's layer, by facts that are known before weights are loaded.

    Args:
        dictionary: an autoencoder or a crosscoder.
        name: the model's, for the sentence.
        d_model: width of its states.
        n_layers: its blocks.
        layer: whose states are to be read; 0 is the embedding output.

    Raises:
        DictionaryError: width or layer do not fit.
    """
    if dictionary.d_model != d_model:
        raise DictionaryError(
            f"The {dictionary.NOUN} reads states that are {dictionary.d_model} wide, but those of {name} are "
            f"{d_model}; take one that was trained on this model."
        )
    if not 0 <= layer <= n_layers:
        raise DictionaryError(
            f"The {dictionary.NOUN} is of layer {layer}, but {name} has layers 0 to {n_layers}; take one that "
            "was trained on this model."
        )
