"""The largest codes of every latent beside a search by hand, and the words around them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unmask.features.autoencoder import ReLU, SparseAutoencoder
from unmask.features.contexts import AFTER, BEFORE, TopGatherer, contexts_of
from unmask.runner.stream import Shard

F, D = 7, 5
DRAWS = torch.Generator().manual_seed(0)
SAE = SparseAutoencoder(
    torch.randn(F, D, generator=DRAWS),
    torch.full((F,), -1.5),
    torch.randn(F, D, generator=DRAWS),
    torch.zeros(D),
    ReLU(),
)


def shard(documents: list[int], positions: list[int]) -> Shard:
    n = len(documents)
    states = torch.randn(n, 1, D, generator=DRAWS) * 2
    return Shard(
        states,
        torch.tensor(documents, dtype=torch.int32),
        torch.tensor(positions, dtype=torch.int32),
        torch.arange(n, dtype=torch.int32),
    )


SHARDS = [
    shard([3] * 30 + [0] * 20 + [3] * 10, [*range(1, 31), *range(1, 21), *range(31, 41)]),
    shard([5] * 25 + [6] * 40, [*range(1, 26), *range(1, 41)]),
]


def dense(part: Shard) -> Tensor:
    return SAE.encode(part.states[:, 0]).dense()


def test_the_largest_of_every_document_are_kept_in_order_whatever_the_batches() -> None:
    for size in (1000, 7):
        gatherer = TopGatherer(F, 3)
        for number, part in enumerate(SHARDS):
            for first in range(0, len(part.ids), size):
                some = slice(first, first + size)
                gatherer.update(number, SAE.encode(part.states[some, 0]), part.documents[some], first)
        top = gatherer.result()
        codes = [dense(part) for part in SHARDS]
        for latent in range(F):
            best: dict[int, tuple[float, int, int]] = {}
            for number, part in enumerate(SHARDS):
                for at, value in enumerate(codes[number][:, latent].tolist()):
                    document = int(part.documents[at])
                    if value > best.get(document, (0.0, 0, 0))[0]:
                        best[document] = value, number, at
            expected = sorted(best.values(), reverse=True)[:3]
            found = zip(
                top.values[latent].tolist(),
                top.shards[latent].tolist(),
                top.tokens[latent].tolist(),
                strict=True,
            )
            kept = [one for one in found if one[0] > 0]
            assert [one[1:] for one in kept] == [one[1:] for one in expected]
            assert [one[0] for one in kept] == pytest.approx([one[0] for one in expected], rel=1e-5)
        fired = torch.cat(codes) > 0
        assert torch.allclose(top.rates, fired.float().mean(0))


def test_a_context_is_of_one_stretch_of_one_text() -> None:
    gatherer = TopGatherer(F, 4)
    for number, part in enumerate(SHARDS):
        gatherer.update(number, SAE.encode(part.states[:, 0]), part.documents)
    top = gatherer.result()
    found = contexts_of(SAE, top, range(F), lambda number: SHARDS[number], str)
    seen = 0
    for latent, contexts in found.items():
        for place, context in enumerate(contexts):
            part = SHARDS[int(top.shards[latent, place])]
            at = int(top.tokens[latent, place])
            ids = [int(token) for token in context.tokens]
            assert ids[context.peak] == at
            assert ids == [*range(ids[0], ids[-1] + 1)]
            assert ids[0] >= at - BEFORE
            assert ids[-1] <= at + AFTER
            assert {int(part.documents[one]) for one in ids} == {context.document}
            steps = part.positions[ids].diff()
            assert bool((steps == 1).all())
            assert torch.allclose(torch.tensor(context.codes), dense(part)[ids, latent], atol=1e-5)
            before = ids[0] - 1  # it begins where it must: as far back as it may, or at the row's beginning
            if before >= max(0, at - BEFORE):
                same = part.documents[before] == part.documents[at]
                assert not (same and part.positions[ids[0]] - part.positions[before] == 1)
            seen += 1
    assert seen > 20
