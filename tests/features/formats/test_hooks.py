"""Names of places are the layers that they are."""

from __future__ import annotations

import pytest

from unmask.features.errors import DictionaryError
from unmask.features.formats.hooks import hook_names, layer_of


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("blocks.3.hook_resid_post", 4),
        ("blocks.0.hook_resid_pre", 0),
        ("blocks.11.hook_resid_pre", 11),
        ("layers.15", 16),
        ("model.layers.3", 4),
        ("model.language_model.layers.12.output", 13),
        ("transformer.h.3", 4),
        ("hook_embed", 0),
        ("somewhere", None),
        ("players.3", None),
    ],
)
def test_a_hook_is_the_layer_that_it_is(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer


@pytest.mark.parametrize(
    "name", ["blocks.3.hook_mlp_out", "blocks.3.hook_resid_mid", "layers.3.mlp", "h.3.attn"]
)
def test_a_hook_inside_a_block_is_refused(name: str) -> None:
    with pytest.raises(DictionaryError, match="residual stream"):
        layer_of(name)


def test_every_layer_has_a_hook() -> None:
    for layer in range(40):
        assert {layer_of(name) for name in hook_names(layer).values()} == {layer}
