"""A crosscoder as it is used: one set of latents that reads and writes two models at once.

    x̃ᵐ = xᵐ / sᵐ                                m = base, aligned
    p  = Σₘ x̃ᵐ (W_encᵐ)ᵀ + b_enc                pre-activations
    z  = activation(p)                          TopK, JumpReLU or ReLU
    x̂ᵐ = sᵐ (z W_decᵐ + bᵐ)

Each model has its own scale, or the one with the longer activations would own the loss. Laid end to end, the scaled
tokens of both are tokens of an ordinary autoencoder that is twice as wide; only what is read from its rows differs.

Source: Lindsey et al. 2024 (transformer-circuits.pub/2024/crosscoders); BatchTopK and the relative norm: Minder et al.
2504.02922.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from unmask.features.autoencoder import Activation, JumpReLU, SparseAutoencoder
from unmask.features.codes import Codes
from unmask.features.errors import DictionaryError

BASE, ALIGNED = 0, 1
"""Where a model lies wherever two are laid side by side."""


@dataclass(frozen=True, eq=False)
class EndToEnd(SparseAutoencoder):
    """The autoencoder of both models' scaled tokens laid end to end, `[n, 2d]`, that a crosscoder is."""

    NOUN: ClassVar = "crosscoder"


@dataclass(frozen=True, eq=False)
class Crosscoder:
    """A crosscoder of one layer of two models. F latents, each model d wide.

    A latent writes a row into each model. As training leaves them (see `folded`), the lengths of the two add up to 1: a
    code is the length of what its latent writes, summed over the models, and TopK ranks latents by that.

    Attributes:
        scale: `[2]`, positive: what each model's activations are divided by. Of any dtype; `to` leaves it alone.
        encoder: `[F, 2, d]`, the rows that read latents from scaled activations.
        encoder_bias: `[F]`.
        decoder: `[F, 2, d]`, what a latent writes when it is 1, in scaled units.
        bias: `[2, d]`, b_dec, in scaled units. It is not taken from the input.
        activation: from pre-activations to codes.
        facts: what it was trained on, as JSON: the models, `layer` and whatever its file said.

    Raises:
        DictionaryError: shapes that do not fit, a scale that is not positive, weights that are not finite, or no latent
            that writes anything.
    """

    NOUN: ClassVar = EndToEnd.NOUN

    scale: Tensor
    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    bias: Tensor
    activation: Activation
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.encoder.ndim != 3 or self.encoder.shape[1] != 2:
            raise DictionaryError(
                f"the encoder of the crosscoder is {list(self.encoder.shape)}; it must be [latents, 2, width], a row a "
                "model for each latent."
            )
        n_latents, _, width = self.encoder.shape
        for what, tensor, shape in (
            ("the scale", self.scale, (2,)),
            ("the encoder's bias", self.encoder_bias, (n_latents,)),
            ("the decoder", self.decoder, (n_latents, 2, width)),
            ("the bias", self.bias, (2, width)),
        ):
            if tuple(tensor.shape) != shape:
                raise DictionaryError(
                    f"{what} of the crosscoder is {list(tensor.shape)}; it must be {list(shape)}."
                )
        if not bool((self.scale.isfinite() & (self.scale > 0)).all()):
            raise DictionaryError(
                f"the crosscoder's scale is {self.scale.tolist()}; it must be a finite number above 0 for each model."
            )
        _ = self.flat  # checks the rest

    @property
    def n_latents(self) -> int:
        """F."""
        return self.encoder.shape[0]

    @property
    def d_model(self) -> int:
        """d, of each model."""
        return self.encoder.shape[2]

    @cached_property
    def flat(self) -> EndToEnd:
        """The same as an autoencoder of `prepared(x).flatten(1)`."""
        return EndToEnd(
            self.encoder.flatten(1),
            self.encoder_bias,
            self.decoder.flatten(1),
            self.bias.flatten(),
            self.activation,
            centred=False,
            facts=self.facts,
        )

    @cached_property
    def decoder_norms(self) -> Tensor:
        """`[F, 2]`, the length of what each latent writes into each model, in scaled units."""
        return self.decoder.norm(dim=2)

    @cached_property
    def relative_norms(self) -> Tensor:
        """Δ, `[F]`: 0 where a latent writes into the base model alone, ½ into both alike, 1 into the aligned one alone.

        ½ [(‖d_aligned‖ − ‖d_base‖) / max + 1], of scaled rows. NaN of a latent that writes nothing. The authors' code
        stores the mirror, 1 − Δ.
        """
        norms = self.decoder_norms
        return ((norms[:, ALIGNED] - norms[:, BASE]) / norms.amax(1) + 1) / 2

    def prepared(self, x: Tensor) -> Tensor:
        """Tokens `[n, 2, d]` in scaled units, of the weights' dtype."""
        if x.ndim != 3 or tuple(x.shape[1:]) != (2, self.d_model):
            raise DictionaryError(
                f"activations are {list(x.shape)}, but the crosscoder reads [tokens, 2, {self.d_model}], the base "
                "model's beside the aligned one's; use it on the models and layer that it was trained on."
            )
        return (x / self.scale[:, None]).to(self.encoder.dtype)

    def pre(self, x: Tensor, latents: Tensor | None = None) -> Tensor:
        """Pre-activations `[n, F]` of tokens `[n, 2, d]`, or `[n, m]` of these `latents [m]` alone."""
        return self.flat.pre(self.prepared(x).flatten(1), latents)

    def encode(self, x: Tensor) -> Codes:
        """Codes of tokens `[n, 2, d]`."""
        return self.flat.encode(self.prepared(x).flatten(1))

    def decode(self, codes: Codes) -> Tensor:
        """Tokens `[n, 2, d]` of codes, in the models' own units."""
        scaled = self.flat.decode(codes).unflatten(1, (2, -1))
        return (scaled * self.scale[:, None]).to(scaled.dtype)

    def reconstruct(self, x: Tensor) -> Tensor:
        """x̂, `[n, 2, d]`."""
        return self.decode(self.encode(x))

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Crosscoder:
        """With weights of another dtype or on another device; scale and threshold keep their dtype."""
        flat = self.flat.to(dtype, device)
        return replace(
            self,
            scale=self.scale.to(device=device),
            encoder=flat.encoder.unflatten(1, (2, -1)),
            encoder_bias=flat.encoder_bias,
            decoder=flat.decoder.unflatten(1, (2, -1)),
            bias=flat.bias.unflatten(0, (2, -1)),
            activation=flat.activation,
        )


def folded(
    encoder: Tensor,
    encoder_bias: Tensor,
    decoder: Tensor,
    bias: Tensor,
    scale: Tensor,
    activation: Activation,
    facts: Mapping[str, Any],
) -> Crosscoder:
    """The crosscoder of weights as they are trained: flat, centred, and ranked by activation × Σₘ‖dᵐ‖.

    Centring goes into the encoder's bias, and the sum of a latent's two lengths into its code; the output is the same.
    A latent that writes nothing is never active.

    Args:
        encoder: `[F, 2d]`, reads scaled tokens less `bias`.
        encoder_bias: `[F]`.
        decoder: `[F, 2d]`, in scaled units.
        bias: `[2d]`, in scaled units.
        scale: `[2]`, what each model's activations were divided by.
        activation: a threshold is of pre-activations as these weights make them, as in `with_unit_decoder`.
        facts: what it was trained on.
    """
    lengths = decoder.double().unflatten(1, (2, -1)).norm(dim=2).sum(1)
    if isinstance(activation, JumpReLU):
        activation = JumpReLU(torch.where(lengths > 0, activation.threshold * lengths, 0).float())
    reader = encoder.double() * lengths[:, None]
    offset = encoder_bias.double() * lengths - reader @ bias.double()
    writer = decoder.double() / lengths.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    return Crosscoder(
        scale,
        reader.to(encoder.dtype).unflatten(1, (2, -1)),
        offset.to(encoder.dtype),
        writer.to(decoder.dtype).unflatten(1, (2, -1)),
        bias.clone().unflatten(0, (2, -1)),
        activation,
        facts,
    )
