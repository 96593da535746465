"""Activations for trainers: one layer under a whole corpus, in shards that are on disk or are made again.

Sparse autoencoders and crosscoders are trained on more activations than memory holds, and than a disk may spare. So the
corpus is cut into rows that are mixed and packed into shards (`pieces.py`), and a shard is forwarded when it is asked
for. What is in it follows from models, texts and settings alone: one that is gone or damaged is made again, and all
that a trainer needs to go on is the number of the shard that it is at.

This is no kind of request. The answer to a request is of one model, stays, and is looked up by itself; a stream is of
both models at once, stays while there is room, and is gone through in an order of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.models.errors import ModelError
from unmask.models.memory import TO_FIT, memory_ran_out
from unmask.models.model import Model
from unmask.models.tokens import Tokens
from unmask.runner.local import software_facts
from unmask.runner.pieces import LEAST, Pieces, batches, cut, pack
from unmask.runner.planner import Budget
from unmask.runner.requests import digest
from unmask.runner.stopping import signals_wait
from unmask.writing import replacing

STREAM_VERSION = 1
"""Raised whenever a shard of the same stream would hold something else."""
_KINDS = {torch.int32: "I32", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_OWN = re.compile(r"\.?\d{5,}\.safetensors(\.[0-9a-f]{8})?")
"""A shard's name, or that of one half-written."""


@dataclass(frozen=True, eq=False)
class Shard:
    """States of n tokens; a row's tokens stand together, rows in random order.

    Attributes:
        states: `[n, models, d]`, in the models' dtype, on the CPU.
        documents: `[n]`, int32, which document a token is of, from 0.
        positions: `[n]`, int32, which of its document's tokens it is, from 0; a start token counts.
        ids: `[n]`, int32, token ids.
    """

    states: Tensor
    documents: Tensor
    positions: Tensor
    ids: Tensor


class ActivationStream:
    """Activations of one layer under a corpus, of one model or of several aligned token by token.

    Documents are plain texts to the tokenizer. One that is longer than the window is cut, and every piece begins with
    the start token if the tokenizer adds one. A row's first token is left out: it has massive activations, whatever it
    is.

    Attributes:
        models: one, or a pair.
        layer: whose states; 0 is the embedding output.
        tokens: in one pass over the corpus.
        n_shards: in one pass over the corpus.
        digest: the address of the stream, from what its activations follow from.
        folder: where its shards lie.

    Source: massive activations, Sun et al. 2402.17762.
    """

    def __init__(
        self,
        models: Sequence[Model],
        documents: Sequence[str],
        layer: int,
        folder: Path,
        *,
        window: int = 256,
        seed: int = 0,
        keep: int = 2**34,
        shard_bytes: int = 2**28,
        at_once: int | None = None,
        facts: Mapping[str, object] | None = None,
    ) -> None:
        """Tokenise the corpus; no model runs yet, and `documents` are not held.

        Args:
            models: with tokenizers that agree on the documents, of one width and dtype.
            documents: texts; what comes to fewer than `LEAST` tokens is left out.
            layer: whose states.
            folder: for shards; a stream has its own folder in it.
            window: most tokens of a row.
            seed: of the order of the pieces.
            keep: bytes of disk for this stream's shards. The oldest give way to a new one, which itself always stays.
            shard_bytes: most bytes of a shard in memory; a pass over the stream holds two of them at once.
            at_once: most tokens in a forward pass; None for what the device is quickest with.
            facts: what else than weights, config and dtype changes activations, as `placement_facts` says it.

        Raises:
            ModelError: models that do not fit each other, the layer or the window; documents without any piece, or
                which the models' tokenizers split differently; a piece larger than a shard.
        """
        _check_models(models, layer, window)
        self.models = tuple(models)
        self.layer = layer
        self.keep = keep
        first = self.models[0]
        self._at_once = at_once or min(Budget.of(_kind(model)).tokens for model in self.models)
        self._token_bytes = len(self.models) * first.d_model * _dtype(first).itemsize + 12
        found = cut(self.models, documents, window)
        self._pieces = found.take(np.random.default_rng(seed).permutation(len(found.starts)))
        self._bounds = pack(self._pieces.counts, shard_bytes // self._token_bytes)
        if not self._bounds:
            size = int(self._pieces.counts.max()) * self._token_bytes
            raise ModelError(
                f"The states of the longest row take {size:,} bytes, but a shard may have {shard_bytes:,}; give a "
                f"larger shard_bytes, or a smaller window than {window}."
            )
        self.tokens = int(self._pieces.counts.sum())
        self.n_shards = len(self._bounds) - 1
        self.digest = digest(
            {
                "kind": "Stream",
                "version": [STREAM_VERSION, LEAST],
                "models": [model.identity for model in self.models],
                "dtype": first.dtype,
                "facts": dict(facts or {}),
                "documents": self._pieces.texts,
                "layer": layer,
                "window": window,
                "seed": seed,
                "shard_bytes": shard_bytes,
            }
        )
        self.folder = folder / self.digest
        # The same numbers up to their last bits; mixed in one pass, they would not come out the same again.
        self._made = software_facts() | {"at once": self._at_once, "devices": [*map(_device, self.models)]}

    def __iter__(self) -> Iterator[Shard]:
        """One pass over the corpus."""
        for i in range(self.n_shards):
            yield self.shard(i)

    def shard(self, i: int) -> Shard:
        """Shard i, from disk where it is sound, else from the models.

        A shard on disk that was made with other software, threads or batches is not taken. While models run, SIGINT and
        SIGTERM wait for the batch in flight; what it belongs to is then made anew.

        Raises:
            IndexError: there is no shard i.
            ModelError: activations are not finite, or a batch is too large for the memory.
            Stopped: a signal came.
            OSError: the shard could not be written; ENOSPC or EDQUOT where the disk is full.
        """
        if not 0 <= i < self.n_shards:
            raise IndexError(f"The stream has shards 0 to {self.n_shards - 1}; shard {i} was asked for.")
        found = self._read(i)
        if found is None:
            with signals_wait() as stop_if_asked:
                self._write(i, self._forward(i, stop_if_asked))
            found = self._read(i)
        if found is None:
            raise ModelError(
                f"{self._path(i)} is not as it was just written: the disk fails, or another program writes there."
            )
        return found

    def _of(self, i: int) -> Pieces:
        """The pieces of a shard."""
        return self._pieces.take(slice(self._bounds[i], self._bounds[i + 1]))

    def _forward(self, i: int, stop_if_asked: Callable[[], None]) -> Shard:
        pieces = self._of(i)
        counts = pieces.counts
        ends = np.cumsum(counts)
        dtype, shape = self._layout(i)["states"]
        states = torch.empty(shape, dtype=dtype)
        for batch in batches(pieces.rows, self._at_once):
            rows = [pieces.row(place) for place in batch]
            for which, model in enumerate(self.models):
                stop_if_asked()
                for place, found in zip(batch, _states(model, rows, self.layer), strict=True):
                    end, count = int(ends[place]), int(counts[place])
                    states[end - count : end, which] = torch.from_numpy(found[-count:, 0])
        stop_if_asked()
        return Shard(states, *map(torch.from_numpy, pieces.kept()))

    def _path(self, i: int) -> Path:
        return self.folder / f"{i:05d}.safetensors"

    def _layout(self, i: int) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Dtype and shape of a shard's tensors, in the order in which the file has them."""
        n, first = int(self._of(i).counts.sum()), self.models[0]
        columns = dict.fromkeys(("documents", "positions", "ids"), (torch.int32, (n,)))
        return {**columns, "states": (_dtype(first), (n, len(self.models), first.d_model))}

    def _header(self, i: int, checksum: str) -> bytes:
        """The head of a shard's file, in full; the same for the same shard with the same bytes."""
        about = {"stream": self.digest, "shard": i, "made by": self._made, "sha256": checksum}
        tensors: dict[str, object] = {}
        end = 0
        for name, (dtype, shape) in self._layout(i).items():
            start, end = end, end + dtype.itemsize * int(np.prod(shape))
            tensors[name] = {"dtype": _KINDS[dtype], "shape": shape, "data_offsets": [start, end]}
        header = json.dumps({"__metadata__": {"about": json.dumps(about)}, **tensors}).encode()
        header += b" " * (-len(header) % 8)
        return len(header).to_bytes(8, "little") + header

    def _write(self, i: int, shard: Shard) -> None:
        """Put a shard on disk, in the place of the oldest."""
        parts = [getattr(shard, name).view(torch.uint8).numpy() for name in self._layout(i)]
        hasher = hashlib.sha256()
        for part in parts:
            hasher.update(part.data)
        header = self._header(i, hasher.hexdigest())
        self._path(i).unlink(missing_ok=True)  # it is damaged, and would count twice
        self._make_room(len(header) + sum(part.nbytes for part in parts))
        with replacing(self._path(i)) as partial, partial.open("wb") as file:
            for part in (header, *parts):
                file.write(part)

    def _make_room(self, size: int) -> None:
        """Remove the oldest shards, whole or half-written by a killed run, until one of `size` bytes fits."""
        there = [path for path in self.folder.glob("*") if _OWN.fullmatch(path.name)]
        there.sort(key=lambda path: (path.stat().st_mtime_ns, path.name))
        used = sum(path.stat().st_size for path in there)
        for path in there:
            if used + size <= self.keep:
                return
            used -= path.stat().st_size
            path.unlink()

    def _read(self, i: int) -> Shard | None:
        """A shard from disk; None where it is not exactly what would be written."""
        layout = self._layout(i)
        sizes = [dtype.itemsize * int(np.prod(shape)) for dtype, shape in layout.values()]
        try:
            content = np.fromfile(self._path(i), np.uint8)
        except OSError:
            return None
        head = content[: max(0, len(content) - sum(sizes))]
        data = content[len(head) :]
        if head.tobytes() != self._header(i, hashlib.sha256(data.data).hexdigest()):
            return None
        parts = zip(layout.items(), np.split(data, np.cumsum(sizes)[:-1]), strict=True)
        return Shard(
            **{
                name: torch.from_numpy(part).view(dtype).reshape(shape)
                for (name, (dtype, shape)), part in parts
            }
        )


def _check_models(models: Sequence[Model], layer: int, window: int) -> None:
    if not models:
        raise ModelError("A stream is of one model or of several; give at least one.")
    first = models[0]
    for model in models:
        if (model.d_model, model.dtype) != (first.d_model, first.dtype):
            raise ModelError(
                f"{first.name} is {first.d_model} wide in {first.dtype}, and {model.name} {model.d_model} in "
                f"{model.dtype}; a stream is of models of one width, loaded in one dtype."
            )
        if not 0 <= layer <= model.n_layers:
            raise ModelError(f"{model.name} has layers 0 to {model.n_layers}; layer {layer} was asked for.")
        if not LEAST <= window <= model.max_length:
            raise ModelError(
                f"The window is {window} tokens, but {model.name} takes rows of up to {model.max_length}; give {LEAST} "
                f"to {model.max_length}."
            )


def _states(model: Model, rows: Sequence[Tokens], layer: int) -> list[NDArray[np.float32]]:
    try:
        return model.read(rows, (layer,), "each")
    except (RuntimeError, MemoryError) as error:
        if memory_ran_out(error):
            raise ModelError(
                f"{model.name} has no memory left for {sum(map(len, rows)):,} tokens at once; give a smaller "
                f"at_once, or {TO_FIT}."
            ) from error
        raise


def _dtype(model: Model) -> torch.dtype:
    return getattr(torch, model.dtype)


def _kind(model: Model) -> str:
    return model.device.split(":")[0]


def _device(model: Model) -> str:
    """What of a device can change last bits."""
    return torch.cuda.get_device_name(model.device) if _kind(model) == "cuda" else _kind(model)
