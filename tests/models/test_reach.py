"""Rows that a model takes in another way than shorter ones stand alone, and leave their batch mates as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models.tiny import TEXTS, relative, tiny_net, tiny_tokenizer
from unmask.models import Frame, Sampling
from unmask.models.model import Model

GREEDY = Sampling(max_new_tokens=6, temperature=0.0)
LONG = {
    "rope_type": "longrope",
    "rope_theta": 100.0,
    "original_max_position_embeddings": 40,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 2.0, 4.0, 8.0],
}


@pytest.fixture(scope="module")
def model() -> Model:
    """Where one row has more than 40 tokens, the positions of all rows turn otherwise."""
    net = tiny_net("llama", rope_parameters=LONG, max_position_embeddings=512)
    found = Model(net, tiny_tokenizer(), "longrope", "longrope")
    assert found.sharing.reach == 40
    return found


def test_a_long_row_changes_no_other(model: Model) -> None:
    rows = [
        model.tokenize(Frame.plain(text))
        for text in (TEXTS[0], TEXTS[1], " ".join(TEXTS), TEXTS[2] + TEXTS[3])
    ]
    lengths = [len(row) for row in rows]
    assert lengths[0] + 6 <= 40 < sorted(lengths)[2] < sorted(lengths)[3]
    together, texts = model.read(rows, [3], "last"), model.generate(rows, [0] * 4, GREEDY)
    for row, states, text in zip(rows, together, texts, strict=True):
        assert relative(states, model.read([row], [3], "last")[0]) < 1e-5
        assert text == model.generate([row], [0], GREEDY)[0]


def test_padded_beside_a_long_row_a_short_one_is_another(model: Model) -> None:
    """Else the test above could not fail."""
    short, long = (model.tokenize(Frame.plain(text)).ids for text in (TEXTS[0], " ".join(TEXTS)))

    def states(*rows: Any) -> np.ndarray:
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[2] * (width - len(row))] for row in rows])
        with torch.inference_mode():
            out = model.net(ids, output_hidden_states=True).hidden_states[2]
        return out[0, len(short) - 1].numpy()

    assert relative(states(short, long), states(short)) > 1e-3


def test_queries_scaled_by_their_column_are_not_shared() -> None:
    net = tiny_net("llama")
    net.config.attn_temperature_tuning = True  # as Llama 4 does
    assert "by their column" in Model(net, tiny_tokenizer(), "tuned", "tuned").sharing.refusal


def test_a_block_that_needs_more_of_those_below_than_their_states_is_not_run_without_them() -> None:
    """As where the upper blocks take their keys from a lower one; here the last of three takes from the second."""
    net = tiny_net("llama")
    left: list[int] = []
    net.model.register_forward_pre_hook(lambda *_: left.clear())
    net.model.layers[1].mlp.register_forward_hook(lambda *_: left.append(1))

    def take(*_: object) -> None:
        left.pop()

    net.model.layers[2].mlp.register_forward_pre_hook(take)
    model = Model(net, tiny_tokenizer(), "handing on", "handing on")
    assert "IndexError" in model.sharing.refusal
    row = model.tokenize(Frame.plain(TEXTS[0]), " yes")
    plain = Model(tiny_net("llama"), tiny_tokenizer(), "plain", "plain")
    assert relative(model.score([row])[0], plain.score([row])[0]) < 1e-5
