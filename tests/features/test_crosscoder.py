"""A crosscoder does what its formulas say, in the models' own units, and comes back from disk as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from unmask.features import autoencoder
from unmask.features.autoencoder import Activation, JumpReLU, ReLU, TopK
from unmask.features.crosscoder import Crosscoder, folded
from unmask.features.errors import DictionaryError
from unmask.features.formats.crosscoder import read_crosscoder, write_crosscoder

F, D, N, K = 20, 6, 50, 3
RANKED = TopK(K)


def trained(seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """Weights as training leaves them: flat, centred, with rows of all lengths; latent 4 writes nothing."""
    draws = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draws, dtype=torch.float64).to(dtype)

    decoder = draw(F, 2 * D) * torch.linspace(0.3, 3, F, dtype=torch.float64).to(dtype)[:, None]
    decoder[4] = 0
    return {
        "encoder": draw(F, 2 * D),
        "encoder_bias": draw(F),
        "decoder": decoder,
        "bias": draw(2 * D),
        "scale": torch.tensor([0.5, 7.0], dtype=dtype),
    }


def made(seed: int = 0, dtype: torch.dtype = torch.float64, activation: Activation = RANKED) -> Crosscoder:
    return folded(**trained(seed, dtype), activation=activation, facts={"layer": 3})


def tokens(n: int = N, seed: int = 1) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    scale = torch.tensor([0.5, 7.0], dtype=torch.float64)
    return (torch.randn(n, 2, D, generator=draws, dtype=torch.float64) + 1) * scale[:, None]


def by_hand(weights: dict[str, torch.Tensor], x: torch.Tensor, threshold: torch.Tensor | None = None):
    """What the weights do as they are trained: activations ranked by a · Σ‖d‖, decoded unscaled."""
    scale = weights["scale"].repeat_interleave(D)
    centred = x.flatten(1) / scale - weights["bias"]
    pre = centred @ weights["encoder"].T + weights["encoder_bias"]
    lengths = weights["decoder"][:, :D].norm(dim=1) + weights["decoder"][:, D:].norm(dim=1)
    scores = pre.relu() * lengths
    if threshold is None:
        kept = torch.zeros_like(pre, dtype=torch.bool)
        kept.scatter_(1, scores.topk(K, dim=1).indices, True)
        kept &= scores > 0
    else:
        kept = (pre > threshold) & (lengths > 0)
    a = torch.where(kept, pre, 0)
    return (a * lengths), ((a @ weights["decoder"] + weights["bias"]) * scale).unflatten(1, (2, D))


def test_it_decodes_to_the_sum_of_what_is_active():
    weights, x = trained(), tokens()
    expected_codes, expected = by_hand(weights, x)
    crosscoder = made()
    codes = crosscoder.encode(x)
    torch.testing.assert_close(codes.dense(), expected_codes)
    torch.testing.assert_close(crosscoder.decode(codes), expected)
    torch.testing.assert_close(crosscoder.reconstruct(x), expected)
    assert expected_codes.count_nonzero() > 2 * N


def test_a_threshold_is_folded_with_its_latent():
    weights, x = trained(), tokens()
    threshold = torch.rand(F, generator=torch.Generator().manual_seed(5))
    expected_codes, expected = by_hand(weights, x, threshold)
    crosscoder = made(activation=JumpReLU(threshold))
    torch.testing.assert_close(crosscoder.encode(x).dense(), expected_codes)
    torch.testing.assert_close(crosscoder.reconstruct(x), expected)


def test_folded_rows_add_up_to_one_and_a_latent_that_writes_nothing_stays_silent():
    crosscoder = made(activation=JumpReLU(torch.full((F,), torch.inf).where(torch.arange(F) == 4, 0)))
    totals = crosscoder.decoder_norms.sum(1)
    assert totals[4] == 0
    torch.testing.assert_close(totals[totals > 0], torch.ones(F - 1, dtype=torch.float64))
    assert not (made(activation=ReLU()).encode(tokens()).latents == 4).any()
    assert crosscoder.relative_norms[4].isnan()


def test_relative_norms_span_base_to_aligned():
    base = torch.tensor([1.0, 3.0, 0.0, 1.0, 0.0])
    aligned = torch.tensor([0.0, 3.0, 2.0, 4.0, 0.0])
    decoder = torch.stack([base, aligned], 1)[:, :, None] * torch.tensor([0.6, 0.8])
    crosscoder = Crosscoder(
        torch.ones(2), torch.zeros(5, 2, 2), torch.zeros(5), decoder, torch.zeros(2, 2), TopK(1)
    )
    torch.testing.assert_close(crosscoder.decoder_norms, torch.stack([base, aligned], 1))
    expected = torch.tensor([0.0, 0.5, 1.0, 0.875, torch.nan])
    torch.testing.assert_close(crosscoder.relative_norms, expected, equal_nan=True)


def test_swapped_models_mirror_everything():
    crosscoder, x = made(), tokens()
    swapped = swap(crosscoder)
    torch.testing.assert_close(swapped.encode(x.flip(1)).dense(), crosscoder.encode(x).dense())
    torch.testing.assert_close(swapped.reconstruct(x.flip(1)), crosscoder.reconstruct(x).flip(1))
    torch.testing.assert_close(swapped.relative_norms, 1 - crosscoder.relative_norms, equal_nan=True)


def test_a_longer_model_with_its_scale_changes_nothing_but_its_own_output():
    crosscoder, x = made(), tokens()
    longer = torch.tensor([10.0, 1.0], dtype=torch.float64)
    other = replace(crosscoder, scale=crosscoder.scale * longer)
    stretched = x * longer[:, None]
    torch.testing.assert_close(other.encode(stretched).dense(), crosscoder.encode(x).dense())
    torch.testing.assert_close(other.reconstruct(stretched), crosscoder.reconstruct(x) * longer[:, None])
    assert other.relative_norms.nan_to_num().equal(crosscoder.relative_norms.nan_to_num())


def test_chunks_and_single_latents_agree_with_the_whole(monkeypatch: pytest.MonkeyPatch):
    crosscoder, x = made(), tokens()
    whole = crosscoder.encode(x)
    monkeypatch.setattr(autoencoder, "CHUNK", 7 * F)
    parts = crosscoder.encode(x)
    assert parts.offsets.equal(whole.offsets)
    assert parts.latents.equal(whole.latents)
    torch.testing.assert_close(parts.values, whole.values)
    some = torch.tensor([3, 0, 11])
    torch.testing.assert_close(crosscoder.pre(x, some), crosscoder.pre(x)[:, some])


def test_another_dtype_keeps_scale_and_threshold():
    crosscoder = made(dtype=torch.float32, activation=JumpReLU(torch.full((F,), 0.1234567)))
    half = crosscoder.to(torch.bfloat16)
    assert half.encoder.dtype == half.decoder.dtype == half.bias.dtype == torch.bfloat16
    assert isinstance(half.activation, JumpReLU)
    assert isinstance(crosscoder.activation, JumpReLU)
    assert half.activation.threshold.equal(crosscoder.activation.threshold)
    assert half.scale.equal(crosscoder.scale)
    x = tokens().float()
    assert half.reconstruct(x).dtype == torch.bfloat16
    there_and_back = crosscoder.to(torch.float64).to(torch.float32)
    assert there_and_back.decoder.equal(crosscoder.decoder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoder": torch.zeros(F, 3, D)}, r"encoder of the crosscoder is \[20, 3, 6\]"),
        (
            {"decoder": torch.zeros(F, 2, D + 1)},
            r"decoder of the crosscoder is \[20, 2, 7\]; it must be \[20, 2, 6\]",
        ),
        ({"encoder_bias": torch.zeros(F + 1)}, r"encoder's bias of the crosscoder is \[21\]"),
        ({"bias": torch.zeros(2 * D)}, r"the bias of the crosscoder is \[12\]; it must be \[2, 6\]"),
        ({"scale": torch.ones(3)}, r"scale of the crosscoder is \[3\]"),
        ({"scale": torch.tensor([1.0, 0.0])}, r"scale is \[1.0, 0.0\]; it must be a finite number above 0"),
        ({"scale": torch.tensor([1.0, torch.nan])}, "finite number above 0"),
        ({"decoder": torch.zeros(F, 2, D)}, "no latent of the crosscoder writes anything"),
        ({"encoder": torch.full((F, 2, D), torch.nan)}, "crosscoder's weights are not finite"),
        ({"activation": TopK(F + 1)}, "k is 21, but the crosscoder has 20 latents"),
        ({"activation": JumpReLU(torch.full((F,), -1.0))}, "threshold of the crosscoder is below 0"),
        ({"activation": JumpReLU(torch.zeros(3))}, r"threshold of the crosscoder is \[3\]"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], says: str):
    with pytest.raises(DictionaryError, match=says) as caught:
        replace(made(dtype=torch.float32), **change)
    assert str(caught.value).endswith(".")


def test_tokens_of_other_models_are_refused():
    for shape in ((N, D), (N, 2, D + 1), (N, 3, D), (2, D)):
        with pytest.raises(DictionaryError, match=r"reads \[tokens, 2, 6\]"):
            made().encode(torch.zeros(shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", [TopK(K), JumpReLU(torch.rand(F)), ReLU()])
def test_it_comes_back_from_disk_as_it_was(tmp_path: Path, activation: Activation, dtype: torch.dtype):
    crosscoder = made(dtype=torch.float32, activation=activation).to(dtype)
    write_crosscoder(crosscoder, tmp_path / "a" / "b")
    back = read_crosscoder(tmp_path / "a" / "b")
    for name in ("scale", "encoder", "encoder_bias", "decoder", "bias"):
        assert getattr(back, name).equal(getattr(crosscoder, name)), name
        assert getattr(back, name).dtype == getattr(crosscoder, name).dtype
    assert type(back.activation) is type(activation)
    assert back.facts == {"layer": 3}
    x = tokens().float()
    assert back.encode(x).dense().equal(crosscoder.encode(x).dense())
    assert not list((tmp_path / "a" / "b").glob(".*"))


def test_the_file_is_as_published(tmp_path: Path):
    crosscoder = made(activation=JumpReLU(torch.rand(F)))
    write_crosscoder(crosscoder, tmp_path)
    tensors = load_file(tmp_path / "crosscoder.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "encoder.weight": (2, D, F),
        "encoder.bias": (F,),
        "decoder.weight": (2, F, D),
        "decoder.bias": (2, D),
        "scale": (2,),
        "threshold": (F,),
    }
    assert tensors["encoder.weight"][1, 2, 7] == crosscoder.encoder[7, 1, 2]
    assert tensors["decoder.weight"][1, 7, 2] == crosscoder.decoder[7, 1, 2]
    assert json.loads((tmp_path / "cfg.json").read_text()) == {
        "architecture": "crosscoder",
        "n_models": 2,
        "d_in": D,
        "d_sae": F,
        "dtype": "float64",
        "activation": "jumprelu",
        "metadata": {"layer": 3},
    }
    # Read with the published formula: f = ReLU(Σ x W + b), x̂ = f W + b.
    x = tokens() / tensors["scale"][:, None]
    pre = torch.einsum("nmd,mdf->nf", x, tensors["encoder.weight"]) + tensors["encoder.bias"]
    f = torch.where(pre > tensors["threshold"], pre, 0)
    out = torch.einsum("nf,mfd->nmd", f, tensors["decoder.weight"]) + tensors["decoder.bias"]
    torch.testing.assert_close(out * tensors["scale"][:, None], crosscoder.reconstruct(tokens()))


def test_weights_that_share_storage_can_be_written(tmp_path: Path):
    crosscoder = made(dtype=torch.float32)
    write_crosscoder(replace(crosscoder, encoder=crosscoder.decoder), tmp_path)
    assert read_crosscoder(tmp_path).encoder.equal(crosscoder.decoder)


def test_a_folder_that_is_not_whole_is_refused_in_one_sentence(tmp_path: Path):
    crosscoder = made(dtype=torch.float32)

    def refused(says: str) -> None:
        with pytest.raises(DictionaryError, match=says) as caught:
            read_crosscoder(tmp_path)
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")

    refused(r"its cfg\.json is missing")
    write_crosscoder(crosscoder, tmp_path)
    weights, config = tmp_path / "crosscoder.safetensors", tmp_path / "cfg.json"
    whole, settings = weights.read_bytes(), json.loads(config.read_text())

    weights.write_bytes(whole[:-10])
    refused("is damaged")
    weights.unlink()
    refused(r"its crosscoder\.safetensors is missing")
    weights.write_bytes(whole)
    tensors = load_file(weights)
    save_file({name: tensor for name, tensor in tensors.items() if name != "scale"}, weights)
    refused("its tensor scale is missing")
    save_file(tensors | {"decoder.bias": tensors["decoder.bias"].flatten()}, weights)
    refused(r"its tensor decoder\.bias is \[12\]")
    save_file(tensors | {"scale": torch.tensor([1.0, torch.nan])}, weights)
    refused("finite number above 0")
    weights.write_bytes(whole)

    for change, says in (
        ({"architecture": "topk"}, "its architecture is 'topk', and 'crosscoder' was expected"),
        ({"n_models": 3}, "it is of 3 models"),
        ({"d_in": D + 1}, "its tensor encoder.weight is"),
        ({"k": None}, '"k": None, and a whole number'),
        ({"activation": "gated"}, "its activation is 'gated'"),
        ({"activation": "jumprelu"}, "its tensor threshold is missing"),
    ):
        config.write_text(json.dumps(settings | change))
        refused(says)
    config.write_text("[]")
    refused("no JSON object")
    config.write_text("{")
    refused("not readable JSON")


def test_facts_that_are_not_json_leave_what_was_there(tmp_path: Path):
    write_crosscoder(made(dtype=torch.float32), tmp_path)
    for facts in ({"fvu": float("nan")}, {"model": object()}):
        with pytest.raises(DictionaryError, match="cannot be stored as JSON"):
            write_crosscoder(replace(made(1, torch.float32), facts=facts), tmp_path)
    assert read_crosscoder(tmp_path).decoder.equal(made(dtype=torch.float32).decoder)


def test_a_write_that_fails_leaves_no_folder_that_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from unmask.features.formats import files

    write_crosscoder(made(dtype=torch.float32), tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(OSError, match=r"crosscoder\.safetensors"):
        write_crosscoder(made(1, torch.float32), tmp_path)
    with pytest.raises(DictionaryError, match=r"cfg\.json is missing"):
        read_crosscoder(tmp_path)


def swap(crosscoder: Crosscoder) -> Crosscoder:
    return replace(
        crosscoder,
        scale=crosscoder.scale.flip(0),
        encoder=crosscoder.encoder.flip(1),
        decoder=crosscoder.decoder.flip(1),
        bias=crosscoder.bias.flip(0),
    )
