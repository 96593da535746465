"""A dictionary from models and a corpus, into a folder: streamed, trained, evaluated on texts held out, written."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.corpus import read_corpus
from unmask.features.crosscoder import Crosscoder, folded
from unmask.features.errors import DictionaryError
from unmask.features.evaluating import FitGatherer
from unmask.features.formats.crosscoder import write_crosscoder
from unmask.features.formats.files import CONFIG
from unmask.features.formats.saelens import write_saelens
from unmask.features.training.finishing import final_activation, finished_autoencoder
from unmask.features.training.fit import check_enough, fit
from unmask.features.training.recipe import Recipe
from unmask.features.training.trainer import Step
from unmask.folder import RunFolder
from unmask.models.model import Model
from unmask.runner.stream import ActivationStream

HELD_OUT = 20
"""One document in so many is not trained on."""
DTYPES = ("float32", "bfloat16", "float16")
CALIBRATED = 32_768
"""Held-out tokens, at most: one half sets BatchTopK's threshold, by the other the finished dictionary is judged."""


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        layer: whose states; 0 is the embedding output.
        corpus: a file or a folder of texts (see `corpus`).
        recipe: how.
        crosscoder: of two models: one dictionary that reads both at once; else one that reads either.
        window: most tokens of a text at once; what the models take, where that is less.
        keep: bytes of disk for activations.
        stored: dtype of the weights on disk, "float32", "bfloat16" or "float16".
    """

    layer: int
    corpus: str
    recipe: Recipe
    crosscoder: bool = False
    window: int = 256
    keep: int = 2**34
    stored: str = "float32"

    def __post_init__(self) -> None:
        if self.stored not in DTYPES:
            raise DictionaryError(
                f"no dtype '{self.stored}' to store weights in; there are {', '.join(DTYPES)}."
            )


@dataclass(frozen=True, eq=False)
class Made:
    """What came out.

    Attributes:
        dictionary: as it was written.
        facts: what it says of itself.
    """

    dictionary: SparseAutoencoder | Crosscoder
    facts: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Either:
    """A stream of two models' tokens one after the other, for a dictionary that reads either."""

    stream: ActivationStream

    @property
    def digest(self) -> str:
        return f"{self.stream.digest}, either"

    @property
    def tokens(self) -> int:
        return self.stream.tokens * len(self.stream.models)

    @property
    def n_shards(self) -> int:
        return self.stream.n_shards

    def shard(self, i: int) -> _Part:
        return _Part(_one_after_the_other(self.stream.shard(i).states))


@dataclass(frozen=True, eq=False)
class _Part:
    states: Tensor


def make_dictionary(
    models: Sequence[Model], order: Order, folder: Path, watch: Callable[[Step], None] = lambda step: None
) -> Made:
    """Train a dictionary and write it into a folder; training that stopped there goes on.

    Activations lie in `activations/` and where training stands in `checkpoint.safetensors` until it is done.

    Args:
        models: one, or base and aligned.
        order: what to make of them.
        folder: where to.
        watch: told of every step.

    Raises:
        DictionaryError: a corpus too small, a folder with other training in it, or training that diverged.
        ModelError: models that do not fit each other, or the layer.
        FolderInUse: another process works in the folder.
        Stopped: a signal came; the same call goes on.
        OSError: a file could not be written.
    """
    if order.crosscoder and len(models) != 2:
        raise DictionaryError("A crosscoder reads two models; give base and aligned.")
    if (folder / CONFIG).exists():
        raise DictionaryError(f"{folder} holds a finished dictionary; choose another folder, or remove it.")
    documents = read_corpus(order.corpus)
    train, held_out = split(documents)
    window = min([order.window, *(model.max_length for model in models)])
    with RunFolder(folder).held():
        shards = folder / "activations"
        stream = ActivationStream(
            models, train, order.layer, shards, window=window, seed=order.recipe.seed, keep=order.keep
        )
        either = stream if order.crosscoder or len(models) == 1 else _Either(stream)
        check_enough(order.recipe, either.tokens)
        room = (
            4 * CALIBRATED * sum(model.d_model for model in models)
        )  # more is not read of the texts held out
        kept_back = ActivationStream(
            models,
            held_out,
            order.layer,
            shards,
            window=window,
            keep=order.keep,
            shard_bytes=max(room, 2**24),
        )
        checkpoint = folder / "checkpoint.safetensors"
        trainer = fit(order.recipe, either, checkpoint, watch)
        states = kept_back.shard(0).states[:CALIBRATED].float()
        mixed = torch.randperm(len(states), generator=torch.Generator().manual_seed(0))
        setting, held = states[mixed[: len(mixed) // 2]], states[mixed[len(mixed) // 2 :]]
        apart = setting if order.crosscoder else _one_after_the_other(setting)
        facts: dict[str, Any] = {
            "model": models[-1].name,
            "layer": order.layer,
            "models": [{"name": model.name, "identity": model.identity} for model in models],
            "recipe": asdict(order.recipe),
            "trained_on": {"tokens": trainer.seen, "distinct": either.tokens, "stream": either.digest},
        }
        stored: torch.dtype = getattr(torch, order.stored)
        if order.crosscoder:
            coder = trainer.coder
            weights = (coder.encoder, coder.encoder_bias, coder.decoder, coder.bias)
            activation = final_activation(trainer, apart)
            crosscoder = folded(*weights, trainer.scale, activation, facts).to(stored)
            read = crosscoder.to(torch.float32)
            facts["held_out"] = _fits(read, models, held)
            made: SparseAutoencoder | Crosscoder = replace(crosscoder, facts=facts)
            write_crosscoder(made, folder)
        else:
            sae = finished_autoencoder(trainer, apart, facts).to(stored)
            read = sae.to(torch.float32)
            facts["held_out"] = [
                fit for at, model in enumerate(models) for fit in _fits(read, [model], held[:, at])
            ]
            made = replace(sae, facts=facts)
            write_saelens(made, folder)
        checkpoint.unlink(missing_ok=True)
        for done in (stream, kept_back):
            shutil.rmtree(done.folder, ignore_errors=True)
        with suppress(OSError):  # it may hold what is not ours
            shards.rmdir()
    return Made(made, facts)


def split(documents: Sequence[str]) -> tuple[list[str], list[str]]:
    """Documents to train on, and one in `HELD_OUT` that is kept back, drawn by its words: copies stay together.

    Raises:
        DictionaryError: fewer than two different documents.
    """
    if len({*documents}) < 2:
        raise DictionaryError(
            "The corpus is a single document; give several, since some are held out to judge by (in a .txt file a "
            "blank line ends a document)."
        )
    drawn = sorted({*documents}, key=lambda text: hashlib.sha256(text.encode()).digest())
    held_out = {*drawn[: max(1, len(drawn) // HELD_OUT)]}
    return [text for text in documents if text not in held_out], [t for t in documents if t in held_out]


def _one_after_the_other(states: Tensor) -> Tensor:
    """`[n, models, d] -> [n · models, 1, d]`."""
    return states.flatten(0, 1)[:, None]


def _fits(
    dictionary: SparseAutoencoder | Crosscoder, models: Sequence[Model], x: Tensor
) -> list[dict[str, Any]]:
    """How well a dictionary fits each of the models that it reads at once: it may explain one and leave the other."""
    gathered = FitGatherer(dictionary)
    for part in x.split(4096):
        gathered.update(part)
    both = {"tokens": gathered.n, "l0": gathered.l0, "dead": gathered.dead}
    return [
        {"model": model.name, "fvu": fvu, **both} for model, fvu in zip(models, gathered.fvu, strict=True)
    ]
