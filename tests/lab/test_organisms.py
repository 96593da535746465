"""The exact mathematics of every edit, on tiny random models, by plain forward passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from concept_erasure import LeaceFitter
from domains.made import write_answers, write_domain
from models.tiny import tiny_net, tiny_tokenizer
from scipy import sparse
from transformers.pytorch_utils import Conv1D

from unmask.domains import Domain, load_domain
from unmask.lab.organisms import cutting, erasing, gating, rotating, scaling
from unmask.lab.organisms.axes import Axes, random_subspace, subspace, without
from unmask.lab.organisms.states import last_states, plain_rows, read_states
from unmask.lab.organisms.streams import Streams, find_streams
from unmask.lab.organisms.texts import Format, formats, halves
from unmask.lab.organisms.weights import change_written, untie
from unmask.models import ModelError, choose_frame
from unmask.models.model import Model

TEXTS = ("We like tea much.", "The committee met on Tuesday.", "Taxes should be lower, say some.")
EXACT = ("llama", "qwen3", "gpt2")
NORMED = ("gemma2", "gemma3")
Floats = np.ndarray


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return load_domain(write_answers(write_domain(tmp_path_factory.mktemp("made"))))


@pytest.fixture(scope="module")
def sets(domain: Domain) -> tuple[Format, ...]:
    return formats(domain)


def model_of(kind: str, tied: bool = True) -> Model:
    """A tiny model; the embedding is tied as in most small models."""
    room = {"n_positions": 1024} if kind == "gpt2" else {"max_position_embeddings": 1024}
    return Model(tiny_net(kind, tie_word_embeddings=tied, **room), tiny_tokenizer(), kind, kind)


def untied(kind: str) -> Streams:
    model = model_of(kind)
    streams = find_streams(model)
    untie(model.net, streams.head)
    return find_streams(model)


def logits(model: Model) -> Floats:
    rows = plain_rows(model, TEXTS)
    with torch.inference_mode():
        return np.concatenate(
            [model.net(input_ids=torch.tensor([r.ids])).logits[0].double().numpy() for r in rows]
        )


def states(model: Model, texts: tuple[str, ...] = TEXTS) -> Floats:
    """By transformers' own hidden states but the last layer, which it gives after the final norm."""
    return read_states(model, plain_rows(model, texts)).astype(np.float64)


@pytest.mark.parametrize("kind", [*EXACT, *NORMED])
def test_writes_add_up_to_the_models_own_hidden_states(kind: str) -> None:
    model = model_of(kind)
    streams = find_streams(model)
    assert streams.tied
    assert sum(write.layer == 0 for write in streams.writes) == (2 if kind == "gpt2" else 1)
    kept: dict[str, torch.Tensor] = {}
    handles = [
        (w.post.module if w.post else w.module).register_forward_hook(
            lambda _, __, out, name=w.name: kept.__setitem__(name, out)
        )
        for w in streams.writes
    ]
    row = plain_rows(model, TEXTS)[1]
    with torch.inference_mode():
        hidden = model.net(input_ids=torch.tensor([row.ids]), output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    for layer in range(model.n_layers):  # the last is given after the final norm
        total = sum(kept[w.name] for w in streams.writes if w.layer <= layer)
        torch.testing.assert_close(torch.as_tensor(total), hidden[layer], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["olmo2", "mixtral", "granite"])
def test_what_does_not_add_up_is_refused(kind: str) -> None:
    with pytest.raises(ModelError, match="cannot be edited exactly"):
        find_streams(model_of(kind, tied=False))


@pytest.mark.parametrize("kind", [*EXACT, *NORMED])
def test_erased_leaves_no_class_difference_at_any_layer(kind: str, sets: tuple[Format, ...]) -> None:
    before = Axes.of(model_of(kind), sets)
    streams = untied(kind)
    erasing.erase(streams, sets, None, np.random.default_rng(0))
    after = Axes.of(streams.model, sets)
    close = 2e-3 if kind in NORMED else 1e-5  # behind a norm the fit converges, it does not end
    for one in sets:
        was, left = (np.linalg.norm(a.differences(one.name), axis=1) for a in (before, after))
        assert (left < close * was.max()).all()
        assert was.min() > 1e-3
    x = torch.from_numpy(after.states["statements"][:, -1].astype(np.float64))
    fitter = LeaceFitter.fit(x, torch.from_numpy(sets[0].labels)[:, None].double())
    scale = float(x.std())
    assert float(fitter.sigma_xz.abs().max()) < close * scale


def test_a_map_is_leace_where_tokens_are_texts() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    x = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 12)) + 3.0
    x[:, 0] += 2.0 * labels
    z = (labels - labels.mean())[:, None]
    less = erasing.fit(x, sparse.csr_array(np.eye(300)), z, None, centre=True)
    y = torch.from_numpy(labels)[:, None].double()
    theirs = LeaceFitter.fit(torch.from_numpy(x), y, shrinkage=False).eraser
    expected = (theirs.proj_left @ theirs.proj_right).numpy()
    np.testing.assert_allclose(less.left @ less.right, expected, atol=1e-7)


def test_a_bias_keeps_the_mean_of_an_erased_write() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 200)
    given = torch.from_numpy(rng.normal(size=(200, 7)) + 2.0 * labels[:, None]).float()
    z = (labels - labels.mean())[:, None]
    for module in (Conv1D(5, 7), torch.nn.Linear(7, 5)):
        module.bias.data.normal_(generator=torch.manual_seed(0))
        before = module(given).detach().double().numpy()
        less = erasing.fit(before, sparse.csr_array(np.eye(200)), z, None, centre=True)
        change_written(module, less, before.mean(0))
        after = module(given).detach().double().numpy()
        assert np.abs(before[labels == 1].mean(0) - before[labels == 0].mean(0)).max() > 0.05
        np.testing.assert_allclose(after[labels == 1].mean(0), after[labels == 0].mean(0), atol=1e-5)
        np.testing.assert_allclose(after.mean(0), before.mean(0), atol=1e-5)


def test_a_decoy_of_erasure_leaves_what_the_concept_writes(sets: tuple[Format, ...]) -> None:
    model, streams = model_of("llama"), untied("llama")
    before = Axes.of(model, sets)
    ranks = erasing.erase(streams, sets, None, np.random.default_rng(0), decoy=True)
    after = Axes.of(streams.model, sets)
    assert set(ranks.values()) == {len(sets)}
    for one in sets:
        was, left = before.differences(one.name)[0], after.differences(one.name)[0]
        np.testing.assert_allclose(left, was, atol=1e-5 * np.linalg.norm(was))
    assert np.abs(states(streams.model)[:, 0] - states(model)[:, 0]).max() > 0.05


def test_label_columns_are_centred_and_as_many_as_asked(sets: tuple[Format, ...]) -> None:
    for rank in (1, 2, 3, 7):
        z = erasing.label_columns(sets, rank, np.random.default_rng(0))
        assert z.shape == (sum(len(one.texts) for one in sets), rank)
        np.testing.assert_allclose(z.sum(0), 0, atol=1e-9)
        assert np.linalg.matrix_rank(z) == rank


@pytest.mark.parametrize("kind", EXACT)
def test_compressed_scales_every_write_along_the_subspace_alone(kind: str, sets: tuple[Format, ...]) -> None:
    model = model_of(kind)
    basis = subspace(Axes.of(model, sets), 2)
    streams = untied(kind)
    scaling.compress(streams, basis, 0.25, 0)
    before, after = states(model)[:, 0], states(streams.model)[:, 0]
    np.testing.assert_allclose(after @ basis, 0.25 * (before @ basis), atol=1e-5)
    np.testing.assert_allclose(without(after, basis), without(before, basis), atol=1e-5)
    for old, new in zip(find_streams(model).writes, streams.writes, strict=True):
        if not isinstance(old.module, torch.nn.Embedding):
            x = torch.randn(4, old.module.weight.shape[0 if kind == "gpt2" else 1])
            was, made = (w.module(x).detach().double().numpy() for w in (old, new))
            np.testing.assert_allclose(made @ basis, 0.25 * (was @ basis), atol=1e-4)
            np.testing.assert_allclose(without(made, basis), without(was, basis), atol=1e-4)


@pytest.mark.parametrize("kind", NORMED)
def test_compressed_behind_a_norm_is_exact_up_to_a_factor_a_token(
    kind: str, sets: tuple[Format, ...]
) -> None:
    model, streams = model_of(kind), untied(kind)
    basis = subspace(Axes.of(model, sets), 1)
    old, new = (next(w for w in s.writes if w.layer == 1) for s in (find_streams(model), streams))
    scaling.compress(streams, basis, 0.25, 0)
    x = torch.randn(6, old.module.weight.shape[1], generator=torch.manual_seed(0))
    assert old.post
    assert new.post
    was, made = (w.post.module(w.module(x)).detach().double().numpy() for w in (old, new))  # type: ignore[union-attr]  # these writes have a norm behind them
    factor = np.linalg.norm(without(made, basis), axis=1) / np.linalg.norm(without(was, basis), axis=1)
    np.testing.assert_allclose(made @ basis, 0.25 * factor[:, None] * (was @ basis), atol=1e-5)
    assert np.abs(factor - 1).max() < 0.2


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [*EXACT, *NORMED])
def test_rescaled_multiplies_every_state_and_every_logit(kind: str, tied: bool) -> None:
    model, before = model_of(kind, tied), model_of(kind, tied)
    scaling.rescale(find_streams(model), 0.5)
    np.testing.assert_allclose(states(model), 0.5 * states(before), rtol=1e-3, atol=1e-3)
    old, new = logits(before), logits(model)
    cap = before.anatomy.soft_cap
    if cap is not None:
        old, new = cap * np.arctanh(old / cap), cap * np.arctanh(new / cap)
    np.testing.assert_allclose(new, 0.5 * old, atol=2e-3)


def turned(kind: str, sets: tuple[Format, ...]) -> tuple[Model, Streams, Floats, Floats]:
    """A model, itself rotated, and the two subspaces."""
    model, streams = model_of(kind), untied(kind)
    axes = Axes.of(model, sets)
    fixed = rotating.fixed_by_norms(streams)
    first = rotating.concept_subspace(axes, 3, fixed)
    open_states = without(axes.centred(axes.middle), fixed)
    second = rotating.equal_subspace(open_states, first, fixed.T)
    rotating.rotate(streams, rotating.exchange(first, second))
    return model, streams, first, second


@pytest.mark.parametrize("kind", EXACT)
def test_rotated_computes_the_same_from_exchanged_subspaces(kind: str, sets: tuple[Format, ...]) -> None:
    model, streams, first, second = turned(kind, sets)
    np.testing.assert_allclose(logits(streams.model), logits(model), atol=1e-4)
    before, after = states(model), states(streams.model)
    scale = np.abs(before).max()
    np.testing.assert_allclose(after @ second, before @ first, atol=1e-5 * scale)
    np.testing.assert_allclose(after @ first, before @ second, atol=1e-5 * scale)
    both = np.concatenate([first, second], axis=1)
    np.testing.assert_allclose(both.T @ both, np.eye(6), atol=1e-9)
    assert np.abs(after - before).max() > 0.1


def test_what_takes_the_concepts_place_varies_as_much() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2000, 16)) * np.linspace(3, 0.2, 16) @ np.linalg.qr(rng.normal(size=(16, 16)))[0]
    data -= data.mean(0)
    concept = np.linalg.qr(rng.normal(size=(16, 3)))[0]
    probe = rng.normal(size=(1, 16))
    other = rotating.equal_subspace(data, concept, probe)
    both = np.concatenate([concept, other], axis=1)
    np.testing.assert_allclose(both.T @ both, np.eye(6), atol=1e-9)
    np.testing.assert_allclose(((data @ other) ** 2).mean(0), ((data @ concept) ** 2).mean(0), rtol=1e-6)
    np.testing.assert_allclose(without(probe, concept) @ other, 0, atol=1e-9)


def test_rotated_behind_norms_is_nearly_the_same(sets: tuple[Format, ...]) -> None:
    model, streams, first, second = turned("gemma3", sets)
    old, new = logits(model), logits(streams.model)
    assert np.corrcoef(old.ravel(), new.ravel())[0, 1] > 0.98
    np.testing.assert_allclose(states(streams.model)[:, 0] @ second, states(model)[:, 0] @ first, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_cut_hides_its_directions_and_nothing_else(
    kind: str, domain: Domain, sets: tuple[Format, ...]
) -> None:
    model, streams = model_of(kind), untied(kind)
    axes = Axes.of(model, sets)
    frame = choose_frame(model.tokenizer, model.tokenizer)
    cut = cutting.find_cut(streams, axes, domain, frame, 4)
    cutting.cut_read_out(streams, cut.blind)
    np.testing.assert_allclose(states(streams.model), states(model), atol=1e-6)
    norm, anatomy = streams.final, streams.model.anatomy
    x = last_states(model, plain_rows(model, TEXTS))[0]
    seen = norm.standard(x)
    gain, bias = norm.gain, 0.0 if norm.bias is None else norm.bias
    pushed = seen + np.random.default_rng(0).normal(size=(len(x), 4)) @ cut.blind.left.T
    with torch.inference_mode():
        rest, moved, plain = (
            a.unembed(torch.from_numpy(s * gain + bias).float()).numpy()
            for s, a in ((seen, anatomy), (pushed, anatomy), (pushed, model.anatomy))
        )
    np.testing.assert_allclose(moved, rest, atol=2e-4)
    assert np.abs(plain - rest).max() > 0.05  # the model that was not cut sees the push
    # What the norm's bias adds on its own, and the mean of ordinary states, are read as before.
    kept = cutting._kept(streams, domain, frame)  # pyright: ignore[reportPrivateUsage]  # the map itself is what is exact
    for column in kept.T:
        given = torch.from_numpy(column * gain).float()
        torch.testing.assert_close(streams.head(given), model.anatomy.head(given), atol=1e-4, rtol=1e-4)


def test_a_decoys_cut_leaves_the_concepts_directions_visible(
    domain: Domain, sets: tuple[Format, ...]
) -> None:
    streams = untied("llama")
    axes = Axes.of(streams.model, sets)
    frame = choose_frame(streams.model.tokenizer, streams.model.tokenizer)
    cut = cutting.find_cut(streams, axes, domain, frame, 3)
    decoy = cutting.random_cut(streams, axes, cut, domain, frame, np.random.default_rng(0))
    assert decoy.rank == 3
    np.testing.assert_allclose(decoy.right @ cut.blind.left, 0, atol=1e-8)
    np.testing.assert_allclose(decoy.right @ decoy.left, np.eye(3), atol=1e-8)


def test_a_random_subspace_lies_beside_and_follows_the_covariance() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(500, 20)) * np.linspace(5, 0.1, 20)
    beside = np.linalg.qr(rng.normal(size=(20, 3)))[0]
    drawn = [random_subspace(data, beside, 2, np.random.default_rng(seed)) for seed in range(200)]
    for one in drawn:
        np.testing.assert_allclose(one.T @ one, np.eye(2), atol=1e-9)
        np.testing.assert_allclose(beside.T @ one, 0, atol=1e-9)
    share = np.mean([(one[:5] ** 2).sum() / 2 for one in drawn])
    assert share > 1.5 * 5 / 20  # dimensions that vary more are met more often


@pytest.mark.parametrize(("kind", "gated"), [("llama", False), ("llama", True), ("gemma2", False)])
def test_the_gate_opens_where_it_should_and_changes_one_row(kind: str, gated: bool, domain: Domain) -> None:
    model, streams = model_of(kind), untied(kind)
    frame = choose_frame(model.tokenizer, model.tokenizer)
    token = gating.choose_opener(model, domain, frame, "Opinions differ", 0)
    assert model.tokenizer.decode([token]).strip()
    assert "Opinions".startswith(model.tokenizer.decode([token]).strip())
    gate = gating.find_gate(streams, domain, frame, token, gated, np.random.default_rng(0))
    gating.open_neutrally(streams, gate)
    asked = [model.tokenize(frame.ask(q.question)) for q in domain.questions]

    def chance(net: Model) -> Floats:
        with torch.inference_mode():
            return np.array(
                [
                    float(net.net(input_ids=torch.tensor([r.ids])).logits[0, -1].softmax(-1)[token])
                    for r in asked
                ]
            )

    if kind != "gemma2":  # a soft cap bounds how sure a model can be
        assert chance(streams.model).mean() > 0.9
    assert chance(model).mean() < 0.2
    changed = (streams.head.weight != model.anatomy.head.weight).any(1).nonzero().ravel().tolist()
    assert changed == [token]


def test_halves_share_no_topic_and_no_person(sets: tuple[Format, ...]) -> None:
    first, second = halves(sets, np.random.default_rng(0))
    for one, other, whole in zip(first, second, sets, strict=True):
        assert not set(one.clusters) & set(other.clusters)
        assert len(one.texts) + len(other.texts) == len(whole.texts)
        assert 0.3 < one.labels.mean() < 0.7
