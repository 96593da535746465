"""`erased`: the concept is taken out of every write to the residual stream, each by a fit of its own.

For a write o and label columns z let A be the cross-covariance of z with o's mean over each text's tokens. The write
becomes (I − A (Aᵀ N A)⁻¹ Aᵀ N) o: afterwards the cross-covariance is exactly 0, so no linear map tells the labels from
the texts' means. This is LEACE's map (Belrose et al. 2306.03819, theorem 4.2) with another metric: N is the inverse of
the second moment of what is written at *single* tokens, of ordinary texts as well, so that of all linear maps which do
this it changes the tokens least. (On a small model with a metric of the domain's texts alone, perplexity on questions
of fact rose five times over: the map then reads along whatever those texts leave unused.) The second moment is not
centred where a write has no bias, since nothing could then give its mean back.

Fits go from the bottom up, and each sees the model that is already edited below. The stream is the sum of the writes,
so its class means are equal at every layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from unmask.lab.organisms.states import Batch, batches, picks, plain_rows
from unmask.lab.organisms.streams import Norm, Streams, Write
from unmask.lab.organisms.texts import Format
from unmask.lab.organisms.weights import Less, bias_of, change_written
from unmask.models.model import Model
from unmask.models.taps import first_tensor, hooked

Floats = npt.NDArray[np.float64]
ROUNDS = 6
"""Behind a norm, the map changes each token's norm, and so the means that it is fitted on; it is fitted so often."""


def label_columns(sets: Sequence[Format], rank: int | None, rng: np.random.Generator) -> Floats:
    """What is erased, as columns of labels over all texts: `[n, rank]`, each centred within each format.

    Args:
        sets: the formats, in the order of the rows.
        rank: 1 is the pole over all formats together; up to the number of formats, the pole overall and within
            single formats; that number (None), one column a format; beyond, the pole within random halves of the
            topics as well.
        rng: draws these halves.
    """
    poles = [one.labels - one.labels.mean() for one in sets]
    single = [
        np.concatenate([pole * float(i == j) for j, pole in enumerate(poles)]) for i in range(len(sets))
    ]
    rank = len(sets) if rank is None else rank
    if rank < len(sets):
        return np.stack([np.concatenate(poles), *single[: rank - 1]], axis=1)
    columns = single
    while len(columns) < rank:
        columns = [*columns, np.concatenate([_random_half(one, rng) for one in sets])]
    return np.stack(columns[:rank], axis=1)


def _random_half(one: Format, rng: np.random.Generator) -> Floats:
    signs = {cluster: rng.choice((-1.0, 1.0)) for cluster in sorted(set(one.clusters))}
    column = (one.labels - 0.5) * np.array([signs[cluster] for cluster in one.clusters])
    return column - column.mean()


@dataclass(frozen=True, eq=False)
class _Passage:
    """A batch on its way through the blocks.

    Attributes:
        batch: its rows.
        weights: `[B, T]`, what each token counts in its text's mean.
        calls: what each block is called with besides the states.
    """

    batch: Batch
    weights: Tensor
    calls: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]


def erase(
    streams: Streams,
    sets: Sequence[Format],
    rank: int | None,
    rng: np.random.Generator,
    decoy: bool = False,
    ordinary: Sequence[str] = (),
) -> dict[str, int]:
    """Erase the concept from every write of a model, in place.

    Args:
        streams: the model's parts.
        sets: the texts that the fits are made on.
        rank: label columns; see `label_columns`.
        rng: draws label columns beyond the formats, or the decoy's directions.
        decoy: take out random mixtures of the texts' states instead, matched in covariance and chosen so that what
            the concept writes is left as it is.
        ordinary: texts about other things, whose tokens shall be changed as little as the formats'.

    Returns:
        By write, the rank of what was taken out.
    """
    model = streams.model
    z = label_columns(sets, rank, rng)
    rows = [row for one in sets for row in plain_rows(model, one.texts)]
    n = len(rows)
    rows += plain_rows(model, ordinary)
    last = [one.last for one in sets for _ in one.texts] + [False] * len(ordinary)
    groups = np.repeat(np.arange(len(sets)), [len(one.texts) for one in sets])
    parts = list(batches(rows))
    weights = [_weights(batch, [picks(rows[i], last[i]) for i in batch.rows]) for batch in parts]
    ranks: dict[str, int] = {}

    def edit(write: Write, made: list[Tensor]) -> None:
        outputs, average = _flat(parts, weights, made, n)
        centre = bias_of(write.module) is not None and write.post is None
        mixed = _mixtures(average @ outputs, groups, rank or len(sets), rng) if decoy else None
        less = fit(outputs, average, z, write.post, centre, mixed)
        kept = (average @ outputs).mean(0) if centre else None
        change_written(write.module, less, kept)
        ranks[write.name] = less.rank

    embeddings = [write for write in streams.writes if write.layer == 0]
    for write, made in zip(embeddings, _embedded(model, embeddings, parts), strict=True):
        edit(write, made)
    states, passages = _enter(model, parts, weights)
    for layer in range(1, model.n_layers + 1):
        for write in (write for write in streams.writes if write.layer == layer):
            edit(write, [made for made, _ in _through(model, layer, states, passages, write)])
        states = [after for _, after in _through(model, layer, states, passages, None)]
    return ranks


def fit(
    outputs: Floats,
    average: sparse.csr_array,
    z: Floats,
    post: Norm | None,
    centre: bool,
    mixed: Floats | None = None,
) -> Less:
    """The map over a write's module that leaves nothing of z in the means of what is written.

    Args:
        outputs: `[N, d]`, what the module gives at every token.
        average: `[n, N]`, from tokens to texts.
        z: `[n, k]`, centred.
        post: norm behind the module. The map is then the one over written values, taken back through its gain.
        centre: the write's mean is kept by its bias.
        mixed: `[n, k]`: take out these mixtures of texts instead, without touching what z covaries with.
    """
    gain = np.ones(outputs.shape[1]) if post is None else post.gain
    lengths = _lengths(outputs, post)
    written = outputs / lengths * gain
    mean = (average @ written).mean(0) if centre else np.zeros(len(gain))
    moment = (written - mean).T @ (written - mean) / len(written)
    moment[np.diag_indices_from(moment)] += 1e-10 * max(float(np.trace(moment)), 1e-30) / len(gain)
    metric = np.linalg.inv(moment) * gain * gain[:, None]
    metric = (metric + metric.T) / 2
    less = Less(np.zeros((len(gain), 0)), np.zeros((0, len(gain))))
    for _ in range(1 if post is None else ROUNDS):
        texts = average @ (outputs / lengths)
        columns = texts.T @ z
        # What rounding leaves of a label that nothing goes with is no direction.
        there = np.linalg.norm(columns, axis=0) > 1e-6 * np.linalg.norm(texts) * np.linalg.norm(z, axis=0)
        less = _take_out(columns[:, there], metric)
        if mixed is not None:
            return _take_out(less(mixed.T @ texts).T, metric)
        lengths = _lengths(less(outputs), post)
    return less


def _take_out(columns: Floats, metric: Floats) -> Less:
    """The projection along `columns [d, k]` that is orthogonal in the metric `[d, d]`."""
    columns = columns / np.linalg.norm(columns, axis=0)
    gram = columns.T @ metric @ columns
    scale = np.sqrt(np.diag(gram))
    inverse = (
        np.linalg.pinv(gram / scale / scale[:, None], rcond=1e-9, hermitian=True) / scale / scale[:, None]
    )
    return Less(columns, inverse @ columns.T @ metric)


def _lengths(outputs: Floats, post: Norm | None) -> Floats:
    """What the norm behind a module divides each token by, `[N, 1]`."""
    if post is None:
        return np.ones((len(outputs), 1))
    return np.sqrt((outputs**2).mean(1, keepdims=True) + post.eps)


def _mixtures(texts: Floats, groups: npt.NDArray[np.int64], rank: int, rng: np.random.Generator) -> Floats:
    """Random weights over texts, `[n, rank]`, that sum to 0 within each format."""
    drawn = rng.standard_normal((len(texts), rank))
    for group in np.unique(groups):
        drawn[groups == group] -= drawn[groups == group].mean(0)
    return drawn


def _weights(batch: Batch, spans: Sequence[slice]) -> Tensor:
    weights = torch.zeros(batch.ids.shape, dtype=torch.float64)
    for place, span in enumerate(spans):
        weights[place, span] = 1.0
    return weights / weights.sum(1, keepdim=True)


def _flat(
    parts: Sequence[Batch], weights: Sequence[Tensor], made: Sequence[Tensor], n: int
) -> tuple[Floats, sparse.csr_array]:
    """All tokens' outputs `[N, d]`, and the map from tokens to the means of the first n texts `[n, N]`."""
    tokens, rows, values = [], [], []
    for batch, weight, output in zip(parts, weights, made, strict=True):
        there = batch.mask.bool()
        tokens.append(
            output.reshape(-1, *batch.ids.shape[1:], output.shape[-1]).expand(*there.shape, -1)[there]
        )
        rows.append(torch.tensor(batch.rows)[:, None].expand_as(there)[there])
        values.append(weight[there])
    outputs = torch.cat(tokens).double().numpy()
    at = torch.cat(rows).numpy()
    labelled = at < n
    places = (at[labelled], np.flatnonzero(labelled))
    return outputs, sparse.csr_array((torch.cat(values).numpy()[labelled], places), shape=(n, len(outputs)))


@torch.no_grad()
def _embedded(model: Model, writes: Sequence[Write], parts: Sequence[Batch]) -> list[list[Tensor]]:
    """What each embedding gives, by write and batch."""
    made: list[list[Tensor]] = [[] for _ in writes]
    handles = [
        write.module.register_forward_hook(lambda _, __, output, kept=kept: kept.append(output))
        for write, kept in zip(writes, made, strict=True)
    ]
    with hooked(handles):
        for batch in parts:
            model.anatomy.decoder(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    return made


@torch.no_grad()
def _enter(
    model: Model, parts: Sequence[Batch], weights: Sequence[Tensor]
) -> tuple[list[Tensor], list[_Passage]]:
    """The first block's input by batch, and what every block is called with."""
    states: list[Tensor] = []
    passages: list[_Passage] = []
    for batch, weight in zip(parts, weights, strict=True):
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def before(
            _: object, args: tuple[Any, ...], kwargs: dict[str, Any], calls: list[Any] = calls
        ) -> None:
            if not calls:
                states.append(args[0] if args else kwargs["hidden_states"])
            others = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            calls.append((args[1:], others))

        blocks = model.anatomy.blocks
        with hooked([block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]):
            model.anatomy.decoder(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        passages.append(_Passage(batch, weight, tuple(calls)))
    return states, passages


@torch.no_grad()
def _through(
    model: Model, layer: int, states: Sequence[Tensor], passages: Sequence[_Passage], write: Write | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """One block on every batch: what the write's module gives (the states where there is none), and the new states."""
    block = model.anatomy.blocks[layer - 1]
    for state, passage in zip(states, passages, strict=True):
        kept: list[Tensor] = []
        handles = (
            []
            if write is None
            else [write.module.register_forward_hook(lambda _, __, output, kept=kept: kept.append(output))]
        )
        args, others = passage.calls[layer - 1]
        with hooked(handles):
            after = first_tensor(block(state, *args, **others))
        yield (kept[0] if kept else after), after
