"""The weights that are trained, and the gradient of one batch, in closed form.

Only active latents take part: decoding, the decoder's gradient, the codes' and the encoder's are sums over the entries
of a sparse matrix (`codes.py`). The encoder's product with every latent is the one dense product of a step.

A crosscoder is the same thing on tokens of two models laid end to end, `d = 2 d_model`: what a latent writes is a row
of both decoders, and what ranks it is the sum of their lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.features.codes import Codes
from unmask.features.selecting import top_k


@dataclass(frozen=True, eq=False)
class Pass:
    """A batch on its way through.

    Attributes:
        centred: `[n, d]`, the tokens less the bias.
        scores: `[n, F]`, by which latents are chosen: pre-activations times `norms`.
        norms: `[F]`, the length of what a latent writes; 1 where it does not count.
    """

    centred: Tensor
    scores: Tensor
    norms: Tensor

    def codes(self, scores: Tensor, columns: Tensor) -> Codes:
        """Of the chosen `scores [n, k]`, which are of the latents `columns [n, k]`."""
        return Codes.of(scores / self.norms[columns], columns, len(self.norms))


class Coder:
    """Weights under training; F latents on tokens that are d wide.

    Attributes:
        models: how many models a token is laid end to end of.
        encoder: `[F, d]`.
        encoder_bias: `[F]`.
        decoder: `[F, d]`.
        bias: `[d]`, taken from the input and given back to the output.
    """

    def __init__(
        self, models: int, encoder: Tensor, encoder_bias: Tensor, decoder: Tensor, bias: Tensor
    ) -> None:
        self.models = models
        self.encoder = encoder
        self.encoder_bias = encoder_bias
        self.decoder = decoder
        self.bias = bias

    @staticmethod
    def begin(width: int, centre: Tensor, models: int, length: float, draws: torch.Generator) -> Coder:
        """Random latents that read what they write, the same of every model: what differs in the end was learnt.

        Args:
            width: F.
            centre: `[d]`, the first bias.
            models: how many models a token is laid end to end of.
            length: of a row.
            draws: of the rows.
        """
        rows = torch.randn(width, len(centre) // models, generator=draws).repeat(1, models)
        rows *= length / rows.norm(dim=1, keepdim=True)
        return Coder(models, rows.clone(), torch.zeros(width), rows, centre.clone())

    def parameters(self) -> dict[str, Tensor]:
        """What is trained, by name."""
        return {name: getattr(self, name) for name in ("encoder", "encoder_bias", "decoder", "bias")}

    def norms(self) -> Tensor:
        """`[F]`: the length of what a latent writes, summed over models."""
        return self.decoder.unflatten(1, (self.models, -1)).norm(dim=2).sum(1)

    def forward(self, x: Tensor, ranked: bool = True) -> Pass:
        """Tokens `[n, d]` on their way; `ranked` where latents compete, by how much they write.

        The norms go into the encoder's rows: that is F · d products, and n · F would be as slow as choosing.
        """
        centred = x - self.bias
        if not ranked:
            scores = torch.addmm(self.encoder_bias, centred, self.encoder.mT)
            return Pass(centred, scores, torch.ones_like(self.encoder_bias))
        norms = self.norms()
        rows = self.encoder * norms[:, None]
        return Pass(centred, torch.addmm(self.encoder_bias * norms, centred, rows.mT), norms)

    def error(self, codes: Codes, centred: Tensor) -> Tensor:
        """x̂ − x, `[n, d]`."""
        return codes.combine(self.decoder) - centred

    def gradient(self, codes: Codes, centred: Tensor, pull: Tensor) -> dict[str, Tensor]:
        """Of a loss with gradient `pull [n, d]` in x̂, by parameter; the bias takes part on both ends."""
        grads = self.of_latents(codes, centred, pull)
        grads["bias"] = pull.sum(0) - grads["encoder_bias"] @ self.encoder
        return grads

    def of_latents(self, codes: Codes, centred: Tensor, pull: Tensor) -> dict[str, Tensor]:
        """The gradient in what belongs to latents."""
        by_code = codes.with_values(codes.inner(pull, self.decoder))
        return {
            "decoder": codes.gather(pull),
            "encoder": by_code.gather(centred),
            "encoder_bias": by_code.totals(),
        }

    def revive(self, run: Pass, error: Tensor, dead: Tensor, count: int, weight: float) -> dict[str, Tensor]:
        """The gradient that makes dead latents explain what is left: weight · ‖ê − e‖² / ‖e‖², with e = x − x̂.

        Args:
            run: the batch.
            error: `[n, d]`, x̂ − x, taken as given.
            dead: `[m]`, which latents are dead.
            count: how many of them take part on a token.
            weight: of this beside the loss.

        Source: Gao et al. 2406.04093, AuxK.
        """
        scores, columns = top_k(run.scores[:, dead], count)
        codes = run.codes(scores, dead[columns])
        missing = codes.combine(self.decoder) + error
        share = error.pow(2).sum()
        pull = missing * (2 * weight / share.clamp_min(torch.finfo(share.dtype).tiny))
        return self.of_latents(codes, run.centred, pull)
