"""Reading and scoring a ragged batch agree with one plain transformers forward a prompt."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.tiny import ARCHITECTURES, TEXTS, relative, tiny_net, tiny_tokenizer
from unmask.models import Add, Frame, ModelError, Prompt, Tokens, Vector
from unmask.models.model import Model

PROMPTS = [Frame.plain(text) for text in (*TEXTS, "Hi there", TEXTS[0] + " " + TEXTS[3])]


def tiny_model(kind: str) -> Model:
    return Model(tiny_net(kind), tiny_tokenizer(), kind, kind)


@pytest.fixture(scope="module")
def llama() -> Model:
    return tiny_model("llama")


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_batched_read_and_score_agree_with_plain_forwards(kind: str) -> None:
    model = tiny_model(kind)
    rows = [model.tokenize(prompt, "the law depends on it") for prompt in PROMPTS]
    assert len({len(row) for row in rows}) > 3
    layers = list(range(model.n_layers + 1))
    each, mean, last = (model.read(rows, layers, pick) for pick in ("each", "mean", "last"))
    scores = model.score(rows)
    for i, row in enumerate(rows):
        with torch.inference_mode():
            out = model.net(input_ids=torch.tensor([row.ids]), output_hidden_states=True)
        hidden = [state[0].numpy() for state in out.hidden_states]
        for layer in layers[:-1]:
            assert relative(each[i][:, layer], hidden[layer]) < 1e-5
        assert (
            min(relative(state, hidden[-1]) for state in _after_norms(model, each[i][:, -1], hidden[-1]))
            < 1e-5
        )
        assert relative(last[i], each[i][-1]) < 1e-5
        start, end = row.content
        assert relative(mean[i], each[i][start:end].mean(axis=0)) < 1e-5
        log_probs = out.logits[0].log_softmax(dim=-1)
        expected = [float(log_probs[t - 1, row.ids[t]]) for t in range(row.start, len(row))]
        np.testing.assert_allclose(scores[i], expected, atol=1e-4)


def _after_norms(model: Model, last: np.ndarray, like: np.ndarray):
    """The last block's output, and what each final norm makes of it: transformers reports one of these."""
    state = torch.from_numpy(last)
    for norm in (torch.nn.Identity(), *model.anatomy.norms):
        with torch.inference_mode():
            state = norm(state)
        if state.shape[-1] == like.shape[-1]:
            yield state.numpy()


def test_layers_come_in_the_order_asked_for(llama: Model) -> None:
    row = llama.tokenize(PROMPTS[0])
    both = llama.read([row], [3, 1], "last")[0]
    np.testing.assert_allclose(both[0], llama.read([row], [3], "last")[0][0], rtol=1e-5)
    np.testing.assert_allclose(both[1], llama.read([row], [1], "last")[0][0], rtol=1e-5)


def test_read_stops_at_the_deepest_layer(llama: Model) -> None:
    called: list[int] = []
    handles = [
        block.register_forward_hook(lambda *_, i=i: called.append(i))
        for i, block in enumerate(llama.anatomy.blocks)
    ]
    llama.read([llama.tokenize(PROMPTS[0])], [0, 2], "last")
    for handle in handles:
        handle.remove()
    assert called == [0, 1]


def test_no_continuation_scores_nothing(llama: Model) -> None:
    rows = [llama.tokenize(PROMPTS[0]), llama.tokenize(PROMPTS[1], "yes")]
    scores = llama.score(rows)
    assert [len(score) for score in scores] == [0, len(rows[1]) - rows[1].start]
    assert [len(score) for score in llama.score(rows[:1])] == [0]


def test_chunks_of_the_unembedding_do_not_matter(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [llama.tokenize(prompt, "the law depends") for prompt in PROMPTS]
    whole = llama.score(rows)
    monkeypatch.setattr("unmask.models.looking.LOGITS_AT_ONCE", 3 * 384)
    for a, b in zip(whole, llama.score(rows), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_empty_prompt_is_the_start_token(llama: Model) -> None:
    row = llama.tokenize(Frame.plain(""), "The law")
    assert row.ids[0] == llama.tokenizer.bos_token_id
    assert row.start == 1
    assert len(llama.score([row])[0]) == len(row) - 1


def test_too_long_names_both_lengths(llama: Model) -> None:
    with pytest.raises(ModelError, match=r"\d+ of the prompt.*takes at most 128"):
        llama.tokenize(Frame.plain("weather " * 200), "yes")


def test_empty_content_is_refused_only_for_means(llama: Model) -> None:
    row = llama.tokenize(Prompt("The committee met", (0, 3)))
    assert row.content[0] == row.content[1]
    with pytest.raises(ModelError, match="no content tokens"):
        llama.read([row], [1], "mean")
    assert llama.read([row], [1], "last")[0].shape == (1, 32)


def test_unknown_layer(llama: Model) -> None:
    with pytest.raises(ModelError, match=r"layers 0 to 3; layer 4"):
        llama.read([llama.tokenize(PROMPTS[0])], [4], "last")


def test_not_finite_names_model_and_layer() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.net.model.embed_tokens.weight[300] = float("nan")
    row = Tokens((5, 6, 300, 7), (1, 4), 2)
    with pytest.raises(ModelError, match=r"llama has activations that are not finite .* at layer 0"):
        model.score([row])
    with torch.no_grad():
        model.net.model.embed_tokens.weight[300] = 1.0
        model.net.model.layers[1].mlp.down_proj.weight[0, 0] = float("inf")
    with pytest.raises(ModelError, match="at layer 2"):
        model.read([row], [3], "mean")
    assert np.isfinite(model.read([row], [1], "mean")[0]).all()


def test_an_edit_that_overflows_is_blamed(llama: Model) -> None:
    row = llama.tokenize(PROMPTS[0], "yes")
    huge = Add((1,), Vector("v", np.full(32, 3e38, np.float32)), 100.0)
    with pytest.raises(ModelError, match="the edit is too strong"):
        llama.read([row], [2], "mean", [huge])


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"small gives id .* not of the same model"):
        Model(tiny_net("llama", vocab_size=300), tiny_tokenizer(), "small", "small")
    model = Model(tiny_net("llama", vocab_size=380), tiny_tokenizer(), "small", "small")
    with pytest.raises(ModelError, match="not of the same model"):
        model.tokenize(Frame.plain("watch"))


def test_nothing_in_nothing_out(llama: Model) -> None:
    assert llama.read([], [1], "mean") == []
    assert llama.score([]) == []
