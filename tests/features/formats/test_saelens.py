"""SAELens' folders: read as SAELens uses them, refused where ours cannot do the same, and written whole."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unmask.features.autoencoder import JumpReLU, TopK
from unmask.features.errors import DictionaryError
from unmask.features.formats import files, read_saelens, saelens, write_saelens

from .seen import SAELENS, D, F, assert_does, changed, drawn, seen_in

CASES = sorted(path.parent.name for path in SAELENS.glob("*/seen.safetensors"))
IN_FLOAT32 = [case for case in CASES if case != "jumprelu_bfloat16"]


@pytest.mark.parametrize("case", IN_FLOAT32)
def test_does_what_saelens_does(case: str) -> None:
    sae = read_saelens(SAELENS / case)
    assert_does(sae, seen_in(SAELENS / case))
    assert sae.facts["model"] == "tiny"
    assert sae.facts["layer"] == (3 if case.startswith("legacy") else 4)
    assert sae.facts["context_size"] == 128


@pytest.mark.parametrize("case", IN_FLOAT32)
def test_still_does_once_it_was_written_and_read_again(case: str, tmp_path: Path) -> None:
    write_saelens(read_saelens(SAELENS / case), tmp_path)
    assert_does(read_saelens(tmp_path), seen_in(SAELENS / case))


def test_the_cases_tell_every_trap_apart(tmp_path: Path) -> None:
    """Each convention, read the other way, makes other codes of the same folder; else the cases would prove nothing."""

    def goes_wrong(case: str, **cfg: Any) -> None:
        folder = changed(SAELENS / case, tmp_path / f"{case}{len(list(tmp_path.iterdir()))}", cfg)
        with pytest.raises(AssertionError):
            assert_does(read_saelens(folder), seen_in(SAELENS / case))

    goes_wrong("topk_rescaled", rescale_acts_by_decoder_norm=False)
    goes_wrong("topk", rescale_acts_by_decoder_norm=True)
    goes_wrong("topk", architecture="standard")
    goes_wrong("topk", apply_b_dec_to_input=False)
    goes_wrong("standard", apply_b_dec_to_input=False)
    goes_wrong("standard_uncentred", apply_b_dec_to_input=True)
    goes_wrong("batchtopk_checkpoint", rescale_acts_by_decoder_norm=False)
    goes_wrong("batchtopk_unscaled_checkpoint", rescale_acts_by_decoder_norm=True)
    norms = load_file(SAELENS / "topk_rescaled" / saelens.WEIGHTS)["W_dec"].norm(dim=1)
    assert norms.min() < 0.7
    assert norms.max() > 1.5


def test_a_batchtopk_is_a_jumprelu_in_a_folder_and_a_threshold_for_all_in_a_checkpoint() -> None:
    for case in ("batchtopk", "batchtopk_unscaled", "matryoshka"):
        trained = read_saelens(SAELENS / case).activation
        checkpoint = read_saelens(SAELENS / f"{case}_checkpoint").activation
        assert isinstance(trained, JumpReLU)
        assert isinstance(checkpoint, JumpReLU)
        assert trained.threshold.unique().numel() == 1
        torch.testing.assert_close(checkpoint.threshold, trained.threshold)


def test_a_latent_at_its_threshold_is_not_active() -> None:
    folder = SAELENS / "jumprelu_at_threshold"
    sae, seen = read_saelens(folder), seen_in(folder)
    assert isinstance(sae.activation, JumpReLU)
    at = seen["pre"] == sae.activation.threshold
    assert at.sum() > 20
    assert not bool(sae.encode(seen["x"]).dense()[at].any())
    above = torch.nextafter(sae.activation.threshold, torch.full((F,), torch.inf))
    assert bool((sae.activation(above[None]).dense() > 0).all())


def test_a_threshold_stays_float32_in_a_bfloat16_folder() -> None:
    folder = SAELENS / "jumprelu_bfloat16"
    sae, seen = read_saelens(folder), seen_in(folder)
    assert isinstance(sae.activation, JumpReLU)
    assert sae.encoder.dtype == torch.bfloat16
    assert sae.activation.threshold.dtype == torch.float32
    assert_does(sae.to(torch.float32), seen)
    assert (seen["rounded"] != 0).sum() < (seen["codes"] != 0).sum()  # what rounding it costs
    # Whole numbers are exact in bfloat16 too, so the gate opens for the same latents.
    assert torch.equal(sae.encode(seen["x"]).dense() != 0, seen["codes"] != 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("activation", ["topk", "jumprelu", "relu"])
def test_what_is_written_is_read_bit_for_bit(
    activation: str, centred: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    sae = drawn(activation, centred, dtype)
    write_saelens(sae, tmp_path / "new" / "folder")
    again = read_saelens(tmp_path / "new" / "folder")
    for name in ("encoder", "encoder_bias", "decoder", "bias"):
        assert torch.equal(getattr(again, name), getattr(sae, name))
        assert getattr(again, name).dtype == dtype
    if isinstance(sae.activation, JumpReLU):
        assert isinstance(again.activation, JumpReLU)
        assert torch.equal(again.activation.threshold, sae.activation.threshold)
    else:
        assert again.activation == sae.activation
    assert again.centred == centred
    assert again.facts == sae.facts


def test_the_description_says_all_that_saelens_asks_for(tmp_path: Path) -> None:
    write_saelens(drawn("topk"), tmp_path)
    cfg = json.loads((tmp_path / "cfg.json").read_text())
    assert cfg.pop("metadata") == {
        "sae_lens_version": "6.54.12",
        "sae_lens_training_version": None,
        "model_name": "tiny",
        "hook_name": "blocks.3.hook_resid_post",
        "hf_hook_name": "model.layers.3",
        "seed": 3,
        "fvu": 0.25,
        "context_size": 128,
        "nothing": None,
    }
    assert cfg == {
        "architecture": "topk",
        "k": 5,
        "rescale_acts_by_decoder_norm": False,
        "d_in": D,
        "d_sae": F,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
    }
    assert {name: list(tensor.shape) for name, tensor in load_file(tmp_path / saelens.WEIGHTS).items()} == {
        "W_enc": [D, F],
        "b_enc": [F],
        "W_dec": [F, D],
        "b_dec": [D],
    }


def test_facts_without_a_layer_stay_as_they_were(tmp_path: Path) -> None:
    for facts in (
        {},
        {"hook_name": "encoder.out"},
        {"layer": 0},
        {"model": "tiny", "sae_lens_training_version": "6.1.0"},
    ):
        write_saelens(replace(drawn(), facts=facts), tmp_path)
        assert read_saelens(tmp_path).facts == facts


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("gated", "architecture is 'gated'"),
        ("unfolded", "do not hold the scale yet"),
        ("layer_norm", "normalises its inputs"),
        ("constant_norm_rescale", "normalises its inputs"),
        ("covariance_whitening", "normalises its inputs"),
        ("hook_z", "attention heads"),
        ("mlp", r"blocks\.3\.hook_mlp_out"),
    ],
)
def test_what_ours_cannot_be_is_refused(case: str, says: str) -> None:
    with pytest.raises(DictionaryError, match=says) as caught:
        read_saelens(SAELENS / "refused" / case)
    assert str(SAELENS / "refused" / case) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("case", "cfg", "tensors", "says"),
    [
        *[
            ("standard", {"architecture": other}, {}, f"architecture is '{other}'")
            for other in (
                "transcoder",
                "skip_transcoder",
                "matching_pursuit",
                "temporal",
                "abstopk",
                "newest",
            )
        ],
        ("standard", {"architecture": None}, {}, 'no "architecture"'),
        ("standard", {"dtype": None}, {}, 'no "dtype"'),
        ("standard", {"dtype": "float8"}, {}, "dtype is 'float8'"),
        ("standard", {"d_in": None}, {}, 'no "d_in"'),
        ("standard", {"metadata": ["tiny"]}, {}, "JSON object was expected"),
        ("standard", {"d_sae": "24"}, {}, "whole number"),
        ("topk", {"k": None}, {}, 'no "k"'),
        ("topk", {"k": 0}, {}, "whole number"),
        ("topk", {"k": F + 1}, {}, "k must be 1 to 24"),
        ("standard", {}, {"b_dec": None}, "tensor b_dec is missing"),
        ("standard", {}, {"W_enc": torch.ones(F, D)}, r"W_enc is \[24, 8\], and .* \[8, 24\]"),
        ("standard", {}, {"r_mag": torch.ones(F)}, r"no use for \(r_mag\)"),
        ("standard", {}, {"scaling_factor": torch.full((F,), 2.0)}, r"no use for \(scaling_factor\)"),
        ("standard", {}, {"b_enc": torch.full((F,), torch.nan)}, "not finite"),
        ("standard", {}, {"W_dec": torch.zeros(F, D)}, "decoder is zero"),
        ("jumprelu", {"architecture": "standard"}, {}, r"no use for \(threshold\)"),
        ("jumprelu", {}, {"threshold": None}, "threshold is missing"),
        ("jumprelu", {}, {"threshold": torch.ones(F - 1)}, r"threshold is \[23\]"),
        ("jumprelu", {}, {"threshold": torch.tensor(-1.0)}, "below 0"),
        ("jumprelu", {}, {"threshold": torch.full((F,), torch.nan)}, "not finite"),
        ("batchtopk_checkpoint", {}, {"topk_threshold": torch.tensor(0.0)}, "before its threshold was set"),
        ("legacy", {"activation_fn_str": "tanh-relu"}, {}, "tanh-relu"),
        ("legacy_topk", {"activation_fn_kwargs": {}}, {}, '"k": None'),
        ("legacy", {"normalize_activations": True}, {}, "do not hold the scale yet"),
        ("legacy", {"hook_point": "blocks.3.attn.hook_z"}, {}, "attention heads"),
    ],
)
def test_what_is_missing_or_wrong_is_said(
    case: str, cfg: dict[str, Any], tensors: dict[str, Tensor | None], says: str, tmp_path: Path
) -> None:
    folder = changed(SAELENS / case, tmp_path / "changed", cfg, tensors)
    with pytest.raises(DictionaryError, match=says) as caught:
        read_saelens(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cfg.json", None, "cfg.json is missing"),
        ("cfg.json", b"{", "not readable JSON"),
        ("cfg.json", b"\xff", "not readable JSON"),
        ("cfg.json", b"[]", "no JSON object"),
        (saelens.WEIGHTS, None, "sae_weights.safetensors is missing"),
        (saelens.WEIGHTS, b"half", "damaged"),
    ],
)
def test_a_damaged_folder_is_said_to_be(name: str, content: bytes | None, says: str, tmp_path: Path) -> None:
    folder = changed(SAELENS / "topk", tmp_path / "changed")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DictionaryError, match=says):
        read_saelens(folder)


def test_one_threshold_may_be_for_all_and_a_step_below_0_is_0(tmp_path: Path) -> None:
    one = read_saelens(changed(SAELENS / "jumprelu", tmp_path / "one", {}, {"threshold": torch.tensor(0.5)}))
    assert isinstance(one.activation, JumpReLU)
    assert torch.equal(one.activation.threshold, torch.full((F,), 0.5))
    few = torch.ones(F)
    few[3] = -0.01
    below = read_saelens(changed(SAELENS / "jumprelu", tmp_path / "few", {}, {"threshold": few}))
    assert isinstance(below.activation, JumpReLU)
    assert torch.equal(below.activation.threshold, few.clamp_min(0))


def test_a_latent_that_writes_nothing_makes_no_nan(tmp_path: Path) -> None:
    decoder = load_file(SAELENS / "topk_rescaled" / saelens.WEIGHTS)["W_dec"]
    decoder[3] = 0
    sae = read_saelens(changed(SAELENS / "topk_rescaled", tmp_path / "changed", {}, {"W_dec": decoder}))
    x = seen_in(SAELENS / "topk_rescaled")["x"]
    assert bool(sae.reconstruct(x).isfinite().all())
    assert sae.encode(x).dense()[:, 3].max() < 1e-30


def test_facts_that_are_not_json_leave_the_old_folder_whole(tmp_path: Path) -> None:
    write_saelens(drawn("relu"), tmp_path)
    for fact in (float("nan"), object()):
        with pytest.raises(DictionaryError, match="JSON"):
            write_saelens(replace(drawn("topk"), facts={"fact": fact}), tmp_path)
    assert read_saelens(tmp_path).facts == drawn().facts


def test_a_write_that_is_cut_off_leaves_nothing_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(path: Path, text: str) -> None:
        raise KeyboardInterrupt

    write_saelens(drawn("relu"), tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(files, "write_atomically", cut)
        with pytest.raises(KeyboardInterrupt):
            write_saelens(drawn("topk"), tmp_path)
    with pytest.raises(DictionaryError, match=r"cfg\.json is missing"):
        read_saelens(tmp_path)
    write_saelens(drawn("topk"), tmp_path)
    assert read_saelens(tmp_path).activation == TopK(5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cfg.json", saelens.WEIGHTS]


def test_weights_of_an_unknown_dtype_are_not_written(tmp_path: Path) -> None:
    sae = drawn()
    object.__setattr__(sae, "encoder", sae.encoder.to(torch.float8_e4m3fn))
    with pytest.raises(DictionaryError, match="float8_e4m3fn"):
        write_saelens(sae, tmp_path)
