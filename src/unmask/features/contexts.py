"""Where a latent fires most: the texts around its largest codes, by which people say what it stands for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.codes import Codes
from unmask.features.errors import DictionaryError
from unmask.features.evaluating import check_fits
from unmask.models.model import Model
from unmask.runner.stream import ActivationStream, Shard

_AT_ONCE = 4096
BEFORE, AFTER = 16, 6
"""Tokens of a context around the one that fires most."""


@dataclass(frozen=True)
class Context:
    """A stretch of text in which a latent fires.

    Attributes:
        document: which text it is of.
        tokens: the words, token by token.
        codes: how strongly the latent fires on each, 0 where it does not.
        peak: which of them it fires on most.
    """

    document: int
    tokens: tuple[str, ...]
    codes: tuple[float, ...]
    peak: int


@dataclass(frozen=True, eq=False)
class Top:
    """Where each latent's largest codes are; a document counts once for a latent.

    Attributes:
        values: `[F, n]`, descending; 0 where a latent fired in fewer documents.
        shards: `[F, n]`, in which shard each is.
        tokens: `[F, n]`, on which of its tokens.
        rates: `[F]`, the share of tokens on which a latent fires.
    """

    values: Tensor
    shards: Tensor
    tokens: Tensor
    rates: Tensor


class TopGatherer:
    """Keeps the largest codes of every latent while a stream goes by.

    Args:
        n_latents: F.
        n: how many to keep of each.
    """

    def __init__(self, n_latents: int, n: int) -> None:
        self._documents = torch.full((n_latents, n), -1, dtype=torch.int64)
        self._values = torch.zeros(n_latents, n)
        self._shards = torch.zeros(n_latents, n, dtype=torch.int64)
        self._tokens = torch.zeros(n_latents, n, dtype=torch.int64)
        self._fired = torch.zeros(n_latents, dtype=torch.int64)
        self._seen = 0

    def update(self, shard: int, codes: Codes, documents: Tensor, first: int = 0) -> TopGatherer:
        """Add some tokens of a shard.

        Args:
            shard: which.
            codes: of n tokens.
            documents: `[n]`, which text each is of.
            first: which of the shard's tokens the first of them is.
        """
        self._seen += len(codes)
        self._fired += torch.bincount(codes.latents, minlength=len(self._fired))
        kept = self._values > 0
        latents = torch.cat([codes.latents, kept.nonzero()[:, 0]])
        values = torch.cat([codes.values.float(), self._values[kept]])
        whose = torch.cat([documents.long()[codes.tokens], self._documents[kept]])
        shards = torch.cat([torch.full_like(codes.latents, shard), self._shards[kept]])
        tokens = torch.cat([codes.tokens + first, self._tokens[kept]])
        order = _by(latents, -values)
        # The first of a document in this order is its largest; the sort by document is stable.
        group = latents[order] * (int(whose.max()) + 1 if len(whose) else 1) + whose[order]
        first_of = _first_of_each(group)
        order = order[first_of]
        rank = _rank_within(latents[order])
        order, rank = order[rank < self._values.shape[1]], rank[rank < self._values.shape[1]]
        at = latents[order]
        self._values.zero_()
        for table, found in (
            (self._values, values),
            (self._shards, shards),
            (self._tokens, tokens),
            (self._documents, whose),
        ):
            table[at, rank] = found[order]
        return self

    def result(self) -> Top:
        """What was found."""
        return Top(self._values, self._shards, self._tokens, self._fired / max(self._seen, 1))


@dataclass(frozen=True)
class Firing:
    """Where one latent fires.

    Attributes:
        latent: which.
        rate: the share of tokens on which it does.
        contexts: where it does most, the strongest first.
    """

    latent: int
    rate: float
    contexts: tuple[Context, ...]

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {"rate": self.rate, "contexts": [asdict(context) for context in self.contexts]}


def top_contexts(
    sae: SparseAutoencoder,
    model: Model,
    layer: int,
    documents: Sequence[str],
    latents: Sequence[int] | None,
    n: int,
    tokens: int,
) -> list[Firing]:
    """Where latents fire most in some texts.

    Args:
        sae: in float32.
        model: whose states.
        layer: of these.
        documents: texts.
        latents: which; None for the ten that fire on most tokens, less those that fire on more than one in ten.
        n: contexts a latent, each of another document.
        tokens: about how many to read, and to keep on disk meanwhile.

    Raises:
        DictionaryError: width or layer do not fit the model, or there is no such latent.
        ModelError: no text is long enough.
    """
    check_fits(sae, model.name, model.d_model, model.n_layers, layer)
    missing = [one for one in latents or () if not 0 <= one < sae.n_latents]
    if missing:
        raise DictionaryError(
            f"There is no latent {missing[0]}; the autoencoder has 0 to {sae.n_latents - 1}."
        )
    with TemporaryDirectory() as folder:
        stream = ActivationStream(
            [model], documents, layer, Path(folder), window=min(256, model.max_length), shard_bytes=2**26
        )
        gatherer = TopGatherer(sae.n_latents, n)
        read = 0
        for number, shard in enumerate(stream):
            if read >= tokens:
                break
            read += len(shard.ids)
            for first in range(0, len(shard.ids), _AT_ONCE):
                some = slice(first, first + _AT_ONCE)
                gatherer.update(
                    number, sae.encode(shard.states[some, 0].float()), shard.documents[some], first
                )
        top = gatherer.result()
        chosen = list(latents) if latents else _most_active(top.rates)

        def decode(token: int) -> str:
            return model.tokenizer.decode([token])

        found = contexts_of(sae, top, chosen, stream.shard, decode)
    return [Firing(latent, float(top.rates[latent]), tuple(found[latent])) for latent in chosen]


def _most_active(rates: Tensor, count: int = 10, most: float = 0.1) -> list[int]:
    rare = torch.where(rates <= most, rates, torch.zeros_like(rates))
    return rare.argsort(descending=True)[:count].tolist()


def contexts_of(
    sae: SparseAutoencoder,
    top: Top,
    latents: Sequence[int],
    shard: Callable[[int], Shard],
    decode: Callable[[int], str],
    model: int = 0,
) -> dict[int, list[Context]]:
    """The texts around the largest codes of some latents.

    Args:
        sae: whose latents.
        top: where they fire.
        latents: which.
        shard: gives a shard again.
        decode: a token's words.
        model: which of the stream's models.
    """
    found: dict[int, list[Context | None]] = {one: [None] * top.values.shape[1] for one in latents}
    wanted = [(int(top.shards[one, place]), one, place) for one in latents for place in _places(top, one)]
    held: tuple[int, Shard] | None = None
    for number, latent, place in sorted(wanted):
        if held is None or held[0] != number:
            held = number, shard(number)
        at = int(top.tokens[latent, place])
        found[latent][place] = _context(sae, held[1], latent, at, decode, model)
    return {latent: [one for one in some if one is not None] for latent, some in found.items()}


def _places(top: Top, latent: int) -> list[int]:
    return [place for place, value in enumerate(top.values[latent].tolist()) if value > 0]


def _context(
    sae: SparseAutoencoder, shard: Shard, latent: int, at: int, decode: Callable[[int], str], model: int
) -> Context:
    first, last = max(0, at - BEFORE), min(len(shard.ids), at + AFTER + 1)
    # Rows stand end to end; what is not of this one has another document or does not go on from token to token.
    offset = shard.positions[first:last] - torch.arange(first, last, dtype=torch.int32)
    mine = (offset == shard.positions[at] - at) & (shard.documents[first:last] == shard.documents[at])
    here = torch.arange(first, last)[mine]
    codes = sae.encode(shard.states[here, model].float()).dense()[:, latent]
    return Context(
        int(shard.documents[at]),
        tuple(decode(int(token)) for token in shard.ids[here]),
        tuple(codes.tolist()),
        int((here == at).nonzero()[0, 0]),
    )


def _by(first: Tensor, then: Tensor) -> Tensor:
    """The order that sorts by `first`, and by `then` where that is the same."""
    order = torch.argsort(then, stable=True)
    return order[torch.argsort(first[order], stable=True)]


def _first_of_each(groups: Tensor) -> Tensor:
    """Where each value of `groups` comes for the first time, in the order in which they come."""
    order = torch.argsort(groups, stable=True)
    ordered = groups[order]
    new = torch.ones(len(ordered), dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return order[new].sort().values


def _rank_within(ordered: Tensor) -> Tensor:
    """Of values that stand together: 0 for the first of each, then 1, …."""
    places = torch.arange(len(ordered))
    new = torch.ones(len(ordered), dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return places - places[new].repeat_interleave(
        torch.diff(places[new], append=torch.tensor([len(ordered)]))
    )
