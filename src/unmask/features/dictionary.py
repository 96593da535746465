"""A dictionary as an audit uses it: which one, of which layer, known by its weights, and kept with the run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.features.autoencoder import JumpReLU, SparseAutoencoder, TopK
from unmask.features.crosscoder import Crosscoder
from unmask.features.errors import DictionaryError
from unmask.features.formats import crosscoder, open_dictionary, saelens
from unmask.features.formats.files import CONFIG

KEPT_BYTES = 2**29
"""Of weights: a dictionary with more is not copied into the run's folder, and has to be found again."""
_STAND_IN_LATENTS = 64


@dataclass(frozen=True, eq=False)
class Dictionary:
    """An autoencoder or a crosscoder with the layer that it reads.

    Attributes:
        reference: what the user called it.
        stored: as its file has it.
        layer: whose states it reads.
        made_up: whether it only stands in for one while an audit is rehearsed.
    """

    reference: str
    stored: SparseAutoencoder | Crosscoder = field(repr=False)
    layer: int
    made_up: bool = False

    @staticmethod
    def open(reference: str, layer: int | None = None) -> Dictionary:
        """A dictionary by its reference (see `open_dictionary`).

        Args:
            reference: what the user calls it.
            layer: whose states it reads; None for what its file says.

        Raises:
            DictionaryError: there is none, it is damaged, or nothing says which layer it reads.
        """
        stored = open_dictionary(reference)
        layer = stored.facts.get("layer") if layer is None else layer
        if layer is None:
            raise DictionaryError(f"{reference} does not say which layer it reads; name it with --sae-layer.")
        return Dictionary(reference, stored, layer)

    @cached_property
    def coder(self) -> SparseAutoencoder | Crosscoder:
        """In float32, as it codes."""
        return self.stored.to(torch.float32)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides what it does: the same for the same weights in another file."""
        stored, hashed = self.stored, hashlib.sha256()
        activation = stored.activation
        parts: dict[str, Tensor] = {
            name: getattr(stored, name) for name in ("encoder", "encoder_bias", "decoder", "bias")
        }
        if isinstance(activation, JumpReLU):
            parts["threshold"] = activation.threshold
        k = activation.k if isinstance(activation, TopK) else None
        said: list[object] = [type(stored).__name__, type(activation).__name__, k]
        if isinstance(stored, Crosscoder):
            parts["scale"] = stored.scale
        else:
            said.append(stored.centred)
        hashed.update(repr(said).encode())
        for name, part in parts.items():
            hashed.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
            hashed.update(part.detach().contiguous().view(torch.uint8).numpy().data)
        return hashed.hexdigest()

    @property
    def size(self) -> int:
        """Bytes of its weights as they are stored."""
        return 2 * self.stored.encoder.nbytes

    def record(self) -> dict[str, Any]:
        """As run.json holds it."""
        stored, facts = self.stored, self.stored.facts
        return {
            "reference": self.reference,
            "digest": self.digest,
            "layer": self.layer,
            "kind": "crosscoder" if isinstance(stored, Crosscoder) else "autoencoder",
            "activation": type(stored.activation).__name__,
            "n_latents": stored.n_latents,
            "d_model": stored.d_model,
            "trained_on": [model["name"] for model in _models(facts)],
        }

    @property
    def trained_on(self) -> list[str]:
        """Identities of the models that it was trained on; empty where its file says nothing of them."""
        return [model["identity"] for model in _models(self.stored.facts) if "identity" in model]

    def keep(self, folder: Path) -> None:
        """Copy it into a run's folder; one too large for that is left where it is."""
        for name in (saelens.WEIGHTS, crosscoder.WEIGHTS, CONFIG):
            (folder / name).unlink(missing_ok=True)  # of an earlier run
        if self.size > KEPT_BYTES:
            return
        if isinstance(self.stored, Crosscoder):
            crosscoder.write_crosscoder(self.stored, folder)
        else:
            saelens.write_saelens(self.stored, folder)

    @staticmethod
    def reopened(record: Mapping[str, Any], kept: Path) -> Dictionary:
        """The dictionary of a finished run: its copy, or what its reference leads to now.

        Args:
            record: as `record` gives it.
            kept: where the copy would be.

        Raises:
            DictionaryError: neither is the one that was used.
        """
        found = Dictionary.open(
            str(kept) if (kept / CONFIG).is_file() else record["reference"], record["layer"]
        )
        if found.digest != record["digest"]:
            raise DictionaryError(
                f"{found.reference} is not the dictionary that the run was audited with ({record['reference']}), so "
                "the run cannot be judged again; put that one back, or run the same audit again."
            )
        return Dictionary(record["reference"], found.stored, found.layer)

    def stand_in(self, width: int) -> Dictionary:
        """A small made-up one of the same kind for states of another width, for rehearsals."""
        draws = torch.Generator().manual_seed(0)
        shape = (_STAND_IN_LATENTS, *self.stored.encoder.shape[1:-1], width)
        encoder, decoder = torch.randn(2, *shape, generator=draws)
        bias = torch.zeros(shape[1:])
        n = torch.zeros(_STAND_IN_LATENTS)
        if isinstance(self.stored, Crosscoder):
            made_up: SparseAutoencoder | Crosscoder = Crosscoder(
                torch.ones(2), encoder, n, decoder, bias, TopK(8)
            )
        else:
            made_up = SparseAutoencoder(encoder, n, decoder, bias, TopK(8))
        return Dictionary(self.reference, made_up, self.layer, made_up=True)


def _models(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a file says of the models; other tools name one."""
    models = facts.get("models")
    if isinstance(models, list):
        return [model for model in models if isinstance(model, dict) and "name" in model]
    return [{"name": str(facts["model"])}] if facts.get("model") else []
