"""Greedy is transformers' greedy, seeds are per row, edits touch what they say, answers end where they should."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from transformers import TopPLogitsWarper

from models.test_sharing import CANNOT, plainly, tiny
from models.tiny import ARCHITECTURES, TEXTS, tiny_net, tiny_tokenizer
from unmask.models import Add, Edit, Frame, Generated, ModelError, ProjectOut, Sampling, Tokens, Vector
from unmask.models.model import Model
from unmask.models.sampling import pick

V = Vector("v", np.random.default_rng(1).normal(size=32).astype(np.float32))
GREEDY = Sampling(12, temperature=0.0)


def rows_of(model: Model) -> list[Tokens]:
    return [model.tokenize(Frame.plain(text)) for text in (*TEXTS, "Hi there")]


@pytest.fixture(scope="module")
def llama() -> Model:
    return Model(tiny_net("llama"), tiny_tokenizer(), "llama", "llama")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_greedy_in_a_batch_is_transformers_own_greedy_alone(kind: str) -> None:
    model = tiny(kind)
    rows = rows_of(model)
    steered: list[Edit | None] = [
        Add((2,), V, 3.0),
        Add((1,), V, -4.0, "generated"),
        Add((0, 2), V, 4.0, positions=(2, len(rows[0]), len(rows[0]) + 3)),
        ProjectOut((1, 2), (V,)),
    ]
    batch = [*rows, *[rows[0]] * len(steered)]
    assert bool(model.sharing.refuses([max(map(len, batch)) + 12])) == (kind in CANNOT)
    answers = model.generate(batch * 2, range(20), GREEDY, [*[None] * len(rows), *steered] * 2)
    assert answers[:10] == answers[10:]
    for row, answer in zip(rows, answers[:6], strict=True):
        ids = torch.tensor([row.ids])
        plain = model.net.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        new = plain[0, len(row) :].tolist()
        end = new.index(2) if 2 in new else None
        assert answer.ids == tuple(new[:end])
        assert answer.finished == (end is not None)
        assert answer.text == model.tokenizer.decode(new[:end], skip_special_tokens=True)
    assert answers[0] not in answers[6:10]
    assert_greedy_under_hooks(model, [rows[0]] * 4, answers[6:10], steered)


def assert_greedy_under_hooks(
    model: Model, rows: Sequence[Tokens], answers: Sequence[Generated], edits: Sequence[Edit | None]
) -> None:
    """Each token of an answer, its end among them, is the likeliest in a plain run over all tokens before it."""
    for row, answer, edit in zip(rows, answers, edits, strict=True):
        _, log_probs = plainly(model, Tokens((*row.ids, *answer.ids), (0, 0), len(row)), edit)
        likeliest = log_probs[len(row) - 1 :].argmax(dim=-1).tolist()
        expected = [*answer.ids, *([2] if answer.finished else [])]
        assert likeliest[: len(expected)] == expected
        assert answer.finished or len(expected) == GREEDY.max_new_tokens


@pytest.mark.parametrize("kind", ["llama", "gpt_neox", "gemma2"])
def test_a_rows_text_does_not_depend_on_its_batch_mates(kind: str) -> None:
    model = Model(tiny_net(kind), tiny_tokenizer(), kind, kind)
    rows = rows_of(model)
    sampling = Sampling(10, 1.0, 0.95)
    together = model.generate(rows, range(len(rows)), sampling)
    for seed, (row, answer) in enumerate(zip(rows, together, strict=True)):
        assert model.generate([row], [seed], sampling) == [answer]
    assert together == model.generate(rows, range(len(rows)), sampling)
    assert together != model.generate(rows, range(100, 100 + len(rows)), sampling)
    alike = model.generate([rows[0]] * 4, [7, 8, 7, 9], sampling)
    assert alike[0] == alike[2] != alike[1]


def test_pick_follows_the_distribution() -> None:
    logits = torch.tensor([1.0, 3.0, 0.0, 2.0, -1.0])
    grid = (torch.arange(20_000) + 0.5) / 20_000
    chosen = pick(logits.expand(len(grid), -1), grid, 0.7, 1.0)
    expected = (logits / 0.7).softmax(-1)
    torch.testing.assert_close(chosen.bincount(minlength=5) / len(grid), expected, atol=1e-3, rtol=0)


def test_the_nucleus_is_transformers_own() -> None:
    torch.manual_seed(0)
    grid = (torch.arange(5_000) + 0.5) / 5_000
    for top_p in (0.01, 0.3, 0.9, 0.999):
        logits = 2 * torch.randn(30)
        kept = TopPLogitsWarper(top_p)(torch.LongTensor(), logits[None])[0]
        chosen = pick(logits.expand(len(grid), -1), grid, 1.0, top_p)
        torch.testing.assert_close(
            chosen.bincount(minlength=30) / len(grid), kept.softmax(-1), atol=2e-3, rtol=0
        )


@pytest.mark.parametrize("edge", [0.0, 1 - 2**-24])
def test_the_ends_of_the_unit_interval_stay_in_the_nucleus(edge: float) -> None:
    logits = torch.full((1, 40_000), -30.0)
    logits[0, 11] = 0.0
    logits[0, 17] = -1.0
    assert int(pick(logits, torch.tensor([edge]), 1.0, 0.99)[0]) in (11, 17)


def test_steering_generated_tokens_only(llama: Model) -> None:
    rows = rows_of(llama)
    edits: list[Edit | None] = [Add((2,), V, dose, "generated") for dose in (3.0, 1.0, -3.0, 2.0, 0.5, 4.0)]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in llama.net.modules()]
    answers = llama.generate(rows, [0] * len(rows), GREEDY, edits)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in llama.net.modules()] == hooks
    assert [a.ids[:1] for a in answers] == [a.ids[:1] for a in llama.generate(rows, [0] * len(rows), GREEDY)]
    assert_greedy_under_hooks(llama, rows, answers, edits)


def test_steering_everything_but_the_first_token(llama: Model) -> None:
    rows = rows_of(llama)
    edits: list[Edit | None] = [Add((2,), V, 3.0), None, *[Add((2,), V, -2.0)] * 4]
    answers = llama.generate(rows, [0] * len(rows), GREEDY, edits)
    assert_greedy_under_hooks(llama, rows, answers, edits)


def test_steering_named_positions_through_padding_and_cache(llama: Model) -> None:
    rows = rows_of(llama)
    edits: list[Edit | None] = [
        Add((2,), V, 4.0, positions=(2, len(row) - 1, len(row) + 1, len(row) + 4)) for row in rows
    ]
    answers = llama.generate(rows, [0] * len(rows), GREEDY, edits)
    assert answers != llama.generate(rows, [0] * len(rows), GREEDY)
    assert_greedy_under_hooks(llama, rows, answers, edits)


def test_answers_end_at_stop_strings(llama: Model) -> None:
    row = rows_of(llama)[0]
    long = llama.generate([row], [3], Sampling(20, 1.0))[0]
    stop = long.text[8:11]
    cut = llama.generate([row, row], [3, 4], Sampling(20, 1.0, stop=(stop,)))[0]
    assert cut.text == long.text[: long.text.index(stop)]
    assert cut.finished
    assert long.text.startswith(llama.tokenizer.decode(cut.ids))
    assert len(cut.ids) < len(long.ids)


def test_a_stop_that_is_one_token_ends_like_an_end_token(llama: Model) -> None:
    row = rows_of(llama)[0]
    long = llama.generate([row], [3], Sampling(20, 1.0))[0]
    token = long.ids[6]
    cut = llama.generate([row], [3], Sampling(20, 1.0, stop=(llama.tokenizer.convert_ids_to_tokens(token),)))[
        0
    ]
    assert cut.ids == long.ids[: long.ids.index(token)]
    assert cut.finished


def test_the_models_own_sampling_habits_are_left_out() -> None:
    net = tiny_net("llama")
    net.generation_config.repetition_penalty = 50.0
    net.generation_config.top_k = 1
    model = Model(net, tiny_tokenizer(), "llama", "llama")
    plain = Model(tiny_net("llama"), tiny_tokenizer(), "llama", "llama")
    rows = rows_of(model)
    for sampling in (GREEDY, Sampling(12)):
        assert model.generate(rows, range(6), sampling) == plain.generate(rows, range(6), sampling)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(12)], ids=["greedy", "sampled"])
def test_no_token_is_picked_from_logits_that_are_not_finite(sampling: Sampling) -> None:
    model = Model(tiny_net("llama"), tiny_tokenizer(), "llama", "llama")
    rows = rows_of(model)
    late = model.generate(rows, range(6), sampling)[1].ids[4]
    assert late not in rows[1].ids
    huge = Add((2,), Vector("v", np.full(32, 3e38, np.float32)), 100.0)
    with pytest.raises(ModelError, match=r"llama has activations .* at layer 2; the edit is too strong"):
        model.generate(rows, range(6), sampling, [None, huge, *[None] * 4])
    with torch.no_grad():
        model.net.model.embed_tokens.weight[late] = float("inf")
    with pytest.raises(ModelError, match=r"at layer 0; its weights are damaged"):
        model.generate([rows[1]], [1], sampling)
    with torch.no_grad():
        model.net.lm_head.weight[7] = float("nan")
    with pytest.raises(ModelError, match=r"in the unembedding; its weights are damaged"):
        model.generate(rows[:1], [0], sampling)


def test_bad_requests_are_sentences(llama: Model) -> None:
    rows = rows_of(llama)
    with pytest.raises(ModelError, match="1 seeds for 6 rows"):
        llama.generate(rows, [1], GREEDY)
    with pytest.raises(ModelError, match="takes at most 128"):
        llama.generate(rows, range(6), Sampling(500))
    with pytest.raises(ValueError, match="temperature"):
        Sampling(5, -1.0)
    with pytest.raises(ValueError, match="top_p"):
        Sampling(5, 1.0, 0.0)
    with pytest.raises(ValueError, match="max_new_tokens"):
        Sampling(0)
    assert llama.generate([], [], GREEDY) == []
