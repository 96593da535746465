"""Edits do exactly their arithmetic: a Llama run block by block by hand, with the edit written out, agrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.tiny import TEXTS, relative, tiny_net, tiny_tokenizer
from unmask.features.autoencoder import Activation, JumpReLU, ReLU, SparseAutoencoder, TopK
from unmask.models import (
    Add,
    Clamp,
    ClampLatents,
    Edit,
    Erase,
    Frame,
    ModelError,
    Patch,
    ProjectOut,
    Substitute,
    Tokens,
    Vector,
)
from unmask.models.model import Model

RNG = np.random.default_rng(0)
V, W = (Vector(key, RNG.normal(size=32).astype(np.float32)) for key in "vw")
Hand = Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def llama() -> Model:
    return Model(tiny_net("llama"), tiny_tokenizer(), "llama", "llama")


@pytest.fixture(scope="module")
def rows(llama: Model) -> list[Tokens]:
    return [llama.tokenize(Frame.plain(text), "the law depends on it") for text in TEXTS]


@torch.inference_mode()
def by_hand(
    model: Model, row: Tokens, layers: tuple[int, ...], change: Hand
) -> tuple[list[np.ndarray], np.ndarray]:
    """States of every layer `[T, d]` and continuation log-probs, with `change(states [T, d])` at the layers."""
    inner = model.net.model
    ids = torch.tensor([row.ids])
    states = inner.embed_tokens(ids)
    positions = torch.arange(len(row))[None]
    rotary = inner.rotary_emb(states, positions)
    kept = []
    for layer in range(model.n_layers + 1):
        if layer:
            block = inner.layers[layer - 1]
            states = block(states, attention_mask=None, position_embeddings=rotary, position_ids=positions)
        if layer in layers:
            states = change(states[0].clone())[None]
        kept.append(states[0].numpy().copy())
    log_probs = model.net.lm_head(inner.norm(states))[0].log_softmax(dim=-1)
    return kept, np.array([float(log_probs[t - 1, row.ids[t]]) for t in range(row.start, len(row))])


def assert_agrees(model: Model, rows: list[Tokens], edits: list[Edit | None], hands: list[Hand]) -> None:
    layers = next(edit for edit in edits if edit is not None).layers
    read = model.read(rows, range(model.n_layers + 1), "each", edits)
    scores = model.score(rows, edits)
    for row, hand, found, score in zip(rows, hands, read, scores, strict=True):
        states, expected = by_hand(model, row, layers, hand)
        assert relative(found, np.stack(states, axis=1)) < 1e-5
        np.testing.assert_allclose(score, expected, atol=1e-4)


def at(tokens: slice | list[int], function: Hand) -> Hand:
    def change(states: Tensor) -> Tensor:
        states[tokens] = function(states[tokens])
        return states

    return change


@pytest.mark.parametrize("layers", [(0,), (2,), (3,), (1, 3)])
def test_add(llama: Model, rows: list[Tokens], layers: tuple[int, ...]) -> None:
    v = torch.from_numpy(V.values)
    assert_agrees(llama, rows, [Add(layers, V, 0.7)] * 5, [at(slice(1, None), lambda h: h + 0.7 * v)] * 5)
    every = Add(layers, V, 0.7, skip_first=False)
    assert_agrees(llama, rows, [every] * 5, [lambda h: h + 0.7 * v] * 5)


def test_where(llama: Model, rows: list[Tokens]) -> None:
    v = torch.from_numpy(V.values)
    prompt = [at(slice(1, row.start), lambda h: h + 2 * v) for row in rows]
    generated = [at(slice(row.start, None), lambda h: h + 2 * v) for row in rows]
    assert_agrees(llama, rows, [Add((1,), V, 2.0, "prompt")] * 5, prompt)
    assert_agrees(llama, rows, [Add((1,), V, 2.0, "generated")] * 5, generated)


def test_project_out(llama: Model, rows: list[Tokens]) -> None:
    both = torch.from_numpy(np.linalg.qr(np.stack([V.values, W.values]).T)[0])
    one = torch.from_numpy(V.values / np.linalg.norm(V.values))[:, None]

    def out(basis: Tensor) -> Hand:
        return at(slice(1, None), lambda h: h - h @ basis @ basis.T)

    edits = [ProjectOut((2,), (V, W)), ProjectOut((2,), (V,)), None, None, ProjectOut((2,), (W, V))]
    keep: Hand = lambda h: h  # noqa: E731
    assert_agrees(llama, rows, edits, [out(both), out(one), keep, keep, out(both)])


def test_erase(llama: Model, rows: list[Tokens]) -> None:
    small = [Vector(f"small {key}", 0.1 * vector.values) for key, vector in (("v", V), ("w", W))]
    left, right = (torch.from_numpy(vector.values) for vector in small)
    places = [0.0, -3.0, 1.5, 20.0, 0.1]

    def erase(place: float) -> Hand:
        return at(slice(1, None), lambda h: h - (h @ right - place)[:, None] * left)

    assert_agrees(
        llama, rows, [Erase((1,), *small, place) for place in places], [erase(place) for place in places]
    )


def test_clamp(llama: Model, rows: list[Tokens]) -> None:
    u = torch.from_numpy(V.values / np.linalg.norm(V.values))
    values = [0.0, -3.0, 1.5, 20.0, 0.1]

    def clamp(value: float) -> Hand:
        return at(slice(1, None), lambda h: h + (value - h @ u)[:, None] * u)

    assert_agrees(
        llama, rows, [Clamp((1,), V, value) for value in values], [clamp(value) for value in values]
    )


def test_patch(llama: Model, rows: list[Tokens]) -> None:
    u = torch.from_numpy(W.values / np.linalg.norm(W.values))
    values = tuple(float(x) for x in RNG.normal(size=200))

    def patch(tokens: slice | list[int], count: int) -> Hand:
        def change(states: Tensor) -> Tensor:
            wanted = torch.zeros(len(states))
            wanted[: len(values[:count])] = torch.tensor(values[: min(count, len(states))])
            states[tokens] += (wanted[tokens] - states[tokens] @ u)[:, None] * u
            return states

        return change

    counts = [len(row) for row in rows]
    edits: list[Edit | None] = [Patch((2,), W, values[:n], str(n)) for n in counts]
    assert_agrees(llama, rows, edits, [patch(slice(1, None), n) for n in counts])
    short: list[Edit | None] = [Patch((2,), W, values[:6], "6") for _ in rows]
    assert_agrees(llama, rows, short, [patch(slice(1, 6), 6)] * 5)
    some: list[Edit | None] = [Patch((2,), W, values[:9], "9", positions=(0, 3, 8)) for _ in rows]
    assert_agrees(llama, rows, some, [patch([3, 8], 9)] * 5)


def test_only_the_named_positions_of_each_row(llama: Model, rows: list[Tokens]) -> None:
    v, u = torch.from_numpy(V.values), torch.from_numpy(V.values / np.linalg.norm(V.values))
    small = Vector("small v", 0.1 * V.values)
    kinds: list[tuple[Edit, Hand]] = [
        (Add((1, 3), V, 0.7), lambda h: h + 0.7 * v),
        (ProjectOut((2,), (V,)), lambda h: h - (h @ u)[:, None] * u),
        (Erase((0,), V, small, 1.5), lambda h: h - (h @ v / 10 - 1.5)[:, None] * v),
        (Clamp((2,), V, -3.0), lambda h: h + (-3.0 - h @ u)[:, None] * u),
    ]
    named = [(0, 2, 7), (5,), None, (1, 9999)]
    tokens = [[2, 7], [5], slice(1, None), [1], []]
    for edit, hand in kinds:
        edits: list[Edit | None] = [*(replace(edit, positions=some) for some in named), None]
        assert_agrees(llama, rows, edits, [at(some, hand) for some in tokens])


def test_named_positions_are_those_that_where_and_skip_first_allow(llama: Model, rows: list[Tokens]) -> None:
    row, add = rows[0], Add((1,), V, 0.7, positions=(0, 2, rows[0].start, rows[0].start + 1))
    for edit, tokens in (
        (replace(add, skip_first=False), [0, 2, row.start, row.start + 1]),
        (replace(add, where="prompt"), [2]),
        (replace(add, where="generated"), [row.start, row.start + 1]),
    ):
        assert_agrees(llama, [row], [edit], [at(tokens, lambda h: h + 0.7 * torch.from_numpy(V.values))])


def test_rows_with_different_doses_are_separate_runs(llama: Model, rows: list[Tokens]) -> None:
    edits: list[Edit | None] = [
        Add((2,), V, 1.0),
        None,
        Add((2,), W, -4.0),
        Add((2,), V, 0.0),
        Add((2,), V, 9.0),
    ]
    together = llama.score(rows, edits)
    for row, edit, score in zip(rows, edits, together, strict=True):
        np.testing.assert_allclose(score, llama.score([row], [edit])[0], atol=1e-4)
    plain = llama.score(rows)
    np.testing.assert_allclose(together[1], plain[1], atol=1e-4)
    np.testing.assert_allclose(together[3], plain[3], atol=1e-4)


def test_hooks_come_off(llama: Model, rows: list[Tokens]) -> None:
    before, hooks = llama.score(rows), _hooks(llama)  # transformers leaves some of its own on
    edits: list[Edit | None] = [Add((0, 1, 2), V, 5.0)] * len(rows)
    llama.read(rows, [1], "mean", edits)
    llama.score(rows, edits)
    handle = llama.net.model.layers[2].register_forward_hook(_fail)
    with pytest.raises(RuntimeError, match="broken"):
        llama.read(rows, [3], "mean", edits)
    handle.remove()
    assert _hooks(llama) == hooks
    for a, b in zip(before, llama.score(rows), strict=True):
        np.testing.assert_array_equal(a, b)


def _hooks(model: Model) -> list[tuple[int, ...]]:
    return [(*module._forward_hooks, *module._forward_pre_hooks) for module in model.net.modules()]


class Squash:
    """A coder that keeps states between −1 and 1."""

    def reconstruct(self, x: Tensor) -> Tensor:
        return x.tanh()


class Halve:
    def reconstruct(self, x: Tensor) -> Tensor:
        return (x / 2).double()  # in whatever dtype


def test_substitute(llama: Model, rows: list[Tokens]) -> None:
    edits: list[Edit | None] = [Substitute((2,), Squash(), "squash"), Substitute((2,), Halve(), "halve")]
    hands: list[Hand] = [at(slice(1, None), torch.tanh), at(slice(1, None), lambda h: h / 2)]
    assert_agrees(llama, [rows[0]] * 2, edits, hands)  # one row, two coders in one batch
    assert_agrees(
        llama,
        rows[:1],
        [Substitute((1,), Squash(), "squash", "prompt")],
        [at(slice(1, rows[0].start), torch.tanh)],
    )


def dictionary(activation: Activation) -> SparseAutoencoder:
    draws = torch.Generator().manual_seed(0)
    encoder, decoder = torch.randn(2, 40, 32, generator=draws)
    return SparseAutoencoder(encoder, torch.randn(40, generator=draws), decoder, V_BIAS, activation)


V_BIAS = torch.linspace(-0.1, 0.1, 32)
ACTIVATIONS = (TopK(6), JumpReLU(torch.linspace(0, 2, 40)), ReLU())


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda one: type(one).__name__)
def test_clamp_latents(llama: Model, rows: list[Tokens], activation: Activation) -> None:
    sae = dictionary(activation)
    latents, values = (3, 17, 30), (2.0, -1.0, 0.0)

    def clamped(share: float) -> Hand:
        def change(h: Tensor) -> Tensor:
            codes = sae.encode(h).dense()
            other = codes.clone()
            other[:, list(latents)] = torch.tensor(values)
            assert (codes[:, list(latents)] > 0).any(0).sum() >= 2  # of what is active, some is set
            return h + share * (other - codes) @ sae.decoder  # what the coder leaves out stays

        return at(slice(1, None), change)

    edits: list[Edit | None] = [
        ClampLatents((2,), sae, "whole", latents, values),
        ClampLatents((2,), sae, "half", latents, values, 0.5),
    ]
    assert_agrees(llama, [rows[0]] * 2, edits, [clamped(1.0), clamped(0.5)])


def test_latents_without_values_are_refused() -> None:
    with pytest.raises(ValueError, match="clamps 2 latents to 1 values"):
        ClampLatents((2,), dictionary(ReLU()), "sae", (1, 2), (0.0,))


def _fail(*_: object) -> None:
    raise RuntimeError("broken")


def test_rows_of_one_batch_may_carry_edits_of_every_kind_and_layer(llama: Model, rows: list[Tokens]) -> None:
    edits: list[Edit | None] = [
        Add((1,), V, 1.0, "generated"),
        ProjectOut((2,), (V, W)),
        Clamp((1, 3), W, -2.0, positions=(3, 5)),
        Erase((0,), V, W, 0.1),
        Patch((2,), W, (0.5,) * 9, "halves"),
        Substitute((2,), Squash(), "squash"),
        ClampLatents((2,), dictionary(TopK(4)), "sae", (1, 2), (3.0, 0.0)),
        None,
    ]
    row = rows[0]
    layers = range(llama.n_layers + 1)
    for found, edit in zip(llama.read([row] * 8, layers, "each", edits), edits, strict=True):
        assert relative(found, llama.read([row], layers, "each", [edit])[0]) < 1e-5
    for found, edit in zip(llama.score([row] * 8, edits), edits, strict=True):
        np.testing.assert_allclose(found, llama.score([row], [edit])[0], atol=1e-4)


def test_tuple_blocks_are_edited() -> None:
    model = Model(tiny_net("bloom"), tiny_tokenizer(), "bloom", "bloom")
    row = model.tokenize(Frame.plain(TEXTS[0]))
    assert not isinstance(_block_output(model, row), torch.Tensor)
    plain, edited = (model.read([row], [2], "each", [e])[0] for e in (None, Add((2,), V, 3.0)))
    np.testing.assert_allclose(edited[1:, 0], plain[1:, 0] + 3 * V.values, atol=1e-4)
    np.testing.assert_array_equal(edited[0], plain[0])


def _block_output(model: Model, row: Tokens) -> object:
    seen: list[object] = []
    handle = model.anatomy.blocks[0].register_forward_hook(lambda _, __, out: seen.append(out))
    model.net(torch.tensor([row.ids]))
    handle.remove()
    return seen[0]


def test_bad_edits_are_sentences(llama: Model, rows: list[Tokens]) -> None:
    with pytest.raises(ModelError, match="layer 9, but the model's layers are 0 to 3"):
        llama.score(rows[:1], [Add((9,), V, 1.0)])
    with pytest.raises(ModelError, match="has 5 numbers, but the model's residual stream has 32"):
        llama.score(rows[:1], [Add((1,), Vector("x", np.ones(5, np.float32)), 1.0)])
    with pytest.raises(ModelError, match="2 edits for 1 rows"):
        llama.score(rows[:1], [Add((1,), V, 1.0), None])
