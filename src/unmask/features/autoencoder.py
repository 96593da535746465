"""A sparse autoencoder as it is used: frozen, whatever it was trained with and wherever it was stored.

    p = (x − b·[centred]) W_encᵀ + b_enc        pre-activations
    z = activation(p)                           TopK, JumpReLU or ReLU
    x̂ = z W_dec + b

Whatever else a file may say (a scale of the input, decoder norms that rank latents) is folded into these on the way in,
so there is one way to encode and one to decode.

Source: Cunningham et al. 2309.08600; TopK: Gao et al. 2406.04093; JumpReLU: Rajamanoharan et al. 2407.14435.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from unmask.features.codes import Codes
from unmask.features.errors import DictionaryError
from unmask.features.selecting import top_k

CHUNK = 2**25
"""Pre-activations that stand in memory at once, in numbers: 128 MiB in float32."""


@dataclass(frozen=True)
class TopK:
    """The k largest pre-activations of a token, of those above 0."""

    k: int

    def __call__(self, pre: Tensor) -> Codes:
        """`[n, F]` pre-activations to codes."""
        return Codes.of(*top_k(pre, self.k), pre.shape[1])


@dataclass(frozen=True, eq=False)
class JumpReLU:
    """What exceeds its latent's threshold, as it is; BatchTopK becomes this once it is trained.

    Attributes:
        threshold: `[F]`, float32, not below 0, whatever the dtype of the weights: rounding it would move the gate.
    """

    threshold: Tensor

    def __call__(self, pre: Tensor) -> Codes:
        """`[n, F]` pre-activations to codes."""
        return Codes.where(pre, pre > self.threshold)


@dataclass(frozen=True)
class ReLU:
    """Every pre-activation above 0."""

    def __call__(self, pre: Tensor) -> Codes:
        """`[n, F]` pre-activations to codes."""
        return Codes.where(pre, pre > 0)


Activation = TopK | JumpReLU | ReLU


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """A sparse autoencoder of one layer's residual stream. F latents, d wide.

    Attributes:
        encoder: `[F, d]`, the rows that read latents (W_enc transposed).
        encoder_bias: `[F]`.
        decoder: `[F, d]`, what a latent writes when it is 1.
        bias: `[d]`, b_dec.
        activation: from pre-activations to codes.
        centred: whether the bias is taken from the input.
        facts: what it was trained on, as JSON: `model`, `layer` and whatever its file said.

    Raises:
        DictionaryError: shapes that do not fit, weights that are not finite, or no latent that writes anything.
    """

    NOUN: ClassVar = "autoencoder"
    """What error sentences call it."""

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    bias: Tensor
    activation: Activation
    centred: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_latents, width = self.encoder.shape
        self._expect("the encoder's bias", self.encoder_bias, (n_latents,))
        self._expect("the decoder", self.decoder, (n_latents, width))
        self._expect("the bias", self.bias, (width,))
        parts = [self.encoder, self.encoder_bias, self.decoder, self.bias]
        if isinstance(self.activation, JumpReLU):
            threshold = self.activation.threshold
            self._expect("the threshold", threshold, (n_latents,))
            parts.append(threshold)
            if bool((threshold < 0).any()):
                raise DictionaryError(
                    f"a threshold of the {self.NOUN} is below 0, which lets everything through: it was saved before "
                    "its threshold was set; train it to the end."
                )
        elif isinstance(self.activation, TopK) and not 1 <= self.activation.k <= n_latents:
            raise DictionaryError(
                f"k is {self.activation.k}, but the {self.NOUN} has {n_latents} latents; k must be 1 to {n_latents}."
            )
        if not all(bool(part.isfinite().all()) for part in parts):
            raise DictionaryError(
                f"the {self.NOUN}'s weights are not finite (NaN or infinite); it is damaged, or its training diverged."
            )
        if not bool(self.decoder.any()):
            raise DictionaryError(f"no latent of the {self.NOUN} writes anything: its decoder is zero.")

    @property
    def n_latents(self) -> int:
        """F."""
        return self.encoder.shape[0]

    @property
    def d_model(self) -> int:
        """d."""
        return self.encoder.shape[1]

    @cached_property
    def decoder_norms(self) -> Tensor:
        """`[F]`, the length of what each latent writes."""
        return self.decoder.norm(dim=1)

    def pre(self, x: Tensor, latents: Tensor | None = None) -> Tensor:
        """Pre-activations `[n, F]`, or `[n, m]` of these `latents [m]` alone.

        Where k ranks latents, a code of 0 may be a rank missed by little; these say by how much.
        """
        encoder, bias = self.encoder, self.encoder_bias
        if latents is not None:
            encoder, bias = encoder[latents], bias[latents]
        return torch.addmm(bias, self._centre(x), encoder.mT)

    def encode(self, x: Tensor) -> Codes:
        """Codes of tokens `[n, d]`."""
        rows = max(1, CHUNK // self.n_latents)
        if len(x) <= rows:
            return self.activation(self.pre(x))
        return Codes.join([self.activation(self.pre(part)) for part in x.split(rows)])

    def decode(self, codes: Codes) -> Tensor:
        """Tokens `[n, d]` of codes."""
        return codes.combine(self.decoder) + self.bias

    def reconstruct(self, x: Tensor) -> Tensor:
        """x̂, `[n, d]`, on the device of `x`."""
        here = self._beside(x)
        return here.decode(here.encode(x))

    def codes_of(self, x: Tensor, latents: Tensor) -> Tensor:
        """Codes of these `latents [m]` alone, `[n, m]`, 0 where one is not active."""
        if isinstance(self.activation, TopK):
            # Whether one is among the k largest is seen from all of them.
            return self.encode(x).columns(latents)
        pre = self.pre(x, latents)
        bar = self.activation.threshold[latents] if isinstance(self.activation, JumpReLU) else 0.0
        return torch.where(pre > bar, pre, 0.0)

    def change(self, x: Tensor, latents: Tensor, values: Tensor) -> Tensor:
        """Σᵢ (valueᵢ − zᵢ) dᵢ: `[n, d]`, what to add to tokens so that these latents' codes become `values [m]`."""
        here = self._beside(x)
        return (values.to(here.decoder) - here.codes_of(x, latents)) @ here.decoder[latents]

    def to(
        self, dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> SparseAutoencoder:
        """With weights of another dtype or on another device; a threshold stays float32."""
        activation = self.activation
        if isinstance(activation, JumpReLU):
            activation = JumpReLU(activation.threshold.to(device=device))
        moved = {
            name: getattr(self, name).to(dtype=dtype, device=device)
            for name in ("encoder", "encoder_bias", "decoder", "bias")
        }
        return replace(self, activation=activation, **moved)

    def _beside(self, x: Tensor) -> SparseAutoencoder:
        """The same where `x` is; a copy on another device is made once."""
        if x.device == self.decoder.device:
            return self
        if x.device not in self._copies:
            self._copies[x.device] = self.to(device=x.device)
        return self._copies[x.device]

    @cached_property
    def _copies(self) -> dict[torch.device, SparseAutoencoder]:
        return {}

    def _centre(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.d_model:
            raise DictionaryError(
                f"activations are {list(x.shape)}, but the autoencoder reads tokens that are {self.d_model} wide; "
                "use it on the model and layer that it was trained on."
            )
        x = x.to(self.encoder.dtype)
        return x - self.bias if self.centred else x

    def _expect(self, what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            raise DictionaryError(
                f"{what} of the {self.NOUN} is {list(tensor.shape)}; it must be {list(shape)}."
            )


def rescaled(sae: SparseAutoencoder, scale: float) -> SparseAutoencoder:
    """The autoencoder of x that does what `sae` does to `scale`·x, its output divided by `scale` again.

    Codes stay as they are, and so do thresholds, which are in the codes' units.
    """
    return replace(sae, encoder=sae.encoder * scale, decoder=sae.decoder / scale, bias=sae.bias / scale)


def with_unit_decoder(sae: SparseAutoencoder) -> SparseAutoencoder:
    """With decoder rows of length 1, so that a code is the length of what its latent writes; same output.

    Of a TopK autoencoder the latents that are chosen become those that write most, so this is for one that was trained
    to rank latents so.
    """
    norms = sae.decoder_norms
    lengths = norms.clamp_min(
        torch.finfo(norms.dtype).tiny
    )  # a latent that writes nothing reads nothing either
    activation = sae.activation
    if isinstance(activation, JumpReLU):
        activation = JumpReLU(activation.threshold * norms.float())
    return replace(
        sae,
        encoder=sae.encoder * norms[:, None],
        encoder_bias=sae.encoder_bias * norms,
        decoder=sae.decoder / lengths[:, None],
        activation=activation,
    )
