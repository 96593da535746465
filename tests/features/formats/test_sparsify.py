"""sparsify's folders: read as sparsify uses them, and refused where ours cannot do the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unmask.features.autoencoder import TopK
from unmask.features.errors import DictionaryError
from unmask.features.formats import read_sparsify

from .seen import SPARSIFY, D, assert_does, changed, seen_in


@pytest.mark.parametrize(
    ("hookpoint", "layer", "k", "width"), [("layers.3", 4, 4, 24), ("layers.5/seed1", 6, 3, 20)]
)
def test_does_what_sparsify_does(hookpoint: str, layer: int, k: int, width: int) -> None:
    folder = SPARSIFY / hookpoint
    sae, seen = read_sparsify(folder), seen_in(folder)
    assert_does(sae, seen)
    assert sae.activation == TopK(k)
    assert (sae.n_latents, sae.d_model) == (width, D)
    assert sae.facts["layer"] == layer
    assert sae.encoder.dtype == torch.float32
    assert not bool(seen["codes"][-1].any())  # sparsify selects zeros there, and none of them is active


def test_num_latents_0_is_the_factor_and_rows_are_rows() -> None:
    cfg = json.loads((SPARSIFY / "layers.3" / "cfg.json").read_text())
    assert (cfg["num_latents"], cfg["expansion_factor"]) == (0, 3)
    sae, tensors = read_sparsify(SPARSIFY / "layers.3"), load_file(SPARSIFY / "layers.3" / "sae.safetensors")
    assert sae.n_latents == 3 * D
    assert torch.equal(sae.decoder, tensors["W_dec"])
    assert torch.equal(sae.encoder, tensors["encoder.weight"])


def test_the_bias_is_taken_from_the_input_whatever_normalize_decoder_says(tmp_path: Path) -> None:
    seen = seen_in(SPARSIFY / "layers.3")
    for normalised in (True, False):
        folder = changed(SPARSIFY / "layers.3", tmp_path / str(normalised), {"normalize_decoder": normalised})
        assert_does(read_sparsify(folder), seen)
    assert bool(read_sparsify(SPARSIFY / "layers.3").bias.all())


def test_facts_are_of_the_run_and_of_the_folder(tmp_path: Path) -> None:
    expected = {"model": "tiny", "dataset": "text", "ctx_len": 128, "layer": 4}
    assert read_sparsify(SPARSIFY / "layers.3").facts == expected
    shutil.copytree(SPARSIFY / "layers.3", tmp_path / "mine")
    assert read_sparsify(tmp_path / "mine").facts == {}
    (tmp_path / "config.json").write_text('{"model": "of a language model"}')
    assert read_sparsify(tmp_path / "mine").facts == {}


@pytest.mark.parametrize(
    ("case", "says"), [("groupmax", "groupmax"), ("skip", "skip"), ("transcode", "transcoder")]
)
def test_what_ours_cannot_be_is_refused(case: str, says: str) -> None:
    with pytest.raises(DictionaryError, match=says):
        read_sparsify(SPARSIFY / "refused" / case)


@pytest.mark.parametrize(
    ("cfg", "tensors", "says"),
    [
        ({"signed": True}, {}, "signs"),
        ({"k": None}, {}, 'no "k"'),
        ({"d_in": None}, {}, 'no "d_in"'),
        ({"expansion_factor": None}, {}, 'no "expansion_factor"'),
        ({"num_latents": 25}, {}, r"encoder.weight is \[24, 8\]"),
        ({}, {"W_dec": None}, "W_dec is missing"),
        ({}, {"W_dec": torch.ones(D, 24)}, r"W_dec is \[8, 24\]"),
        ({}, {"W_skip": torch.ones(D, D)}, "W_skip"),
        ({}, {"b_dec": torch.full((D,), torch.inf)}, "not finite"),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    cfg: dict[str, Any], tensors: dict[str, Tensor | None], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DictionaryError, match=says) as caught:
        read_sparsify(changed(SPARSIFY / "layers.3", tmp_path / "layers.3", cfg, tensors))
    assert "\n" not in str(caught.value)


def test_another_place_than_the_residual_stream_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"layers\.3\.mlp"):
        read_sparsify(changed(SPARSIFY / "layers.3", tmp_path / "layers.3.mlp"))
