"""What ships is whole, of the layer that it is named after, and made by the recipe in the docs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.corpus import read_corpus
from unmask.features.errors import DictionaryError
from unmask.features.formats import open_dictionary
from unmask.features.shipped import DEMO

DOCS = Path(__file__).parents[2] / "docs" / "features.md"


def test_the_shipped_dictionary_is_the_one_in_the_docs() -> None:
    sae = open_dictionary("demo:smollm2-15")
    assert isinstance(sae, SparseAutoencoder)
    assert (sae.n_latents, sae.d_model, sae.facts["layer"]) == (2048, 576, 15)
    assert sae.encoder.dtype == torch.bfloat16
    recipe = sae.facts["recipe"]
    words = f"--kind {recipe['kind']} --width {recipe['width']} --k {recipe['k']} --tokens {recipe['tokens']}"
    docs = DOCS.read_text(encoding="utf-8")
    assert f"{words} --rate 1e-3 --stored bfloat16" in docs
    assert recipe["rate"] == 1e-3
    assert f"{sae.facts['trained_on']['distinct']:,} activations" in docs
    for fit in sae.facts["held_out"]:
        assert f"held-out conversations, {fit['model']} | {fit['fvu']:.3f}".replace("0.", ".") in docs


def test_the_shipped_texts_are_conversations_of_the_demo_models() -> None:
    texts = read_corpus("demo:conversations")
    assert len(texts) == 3200
    assert all(text.startswith("<|im_start|>system") for text in texts)
    assert len({*texts}) > 3000


def test_what_does_not_ship_is_named_with_what_does() -> None:
    with pytest.raises(DictionaryError, match="no demo:gpt5 among what ships; there is demo:smollm2-15"):
        open_dictionary("demo:gpt5")
    with pytest.raises(DictionaryError, match="there is demo:conversations"):
        read_corpus("demo:none")
    assert json.loads((DEMO / "smollm2-15" / "cfg.json").read_text())["architecture"] == "jumprelu"
