"""With the real SAELens: what unmask writes is opened by it, and its releases are converted.

The hub is played by folders here; everything from the download on is SAELens' own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unmask.features.autoencoder import JumpReLU, SparseAutoencoder
from unmask.features.errors import DictionaryError
from unmask.features.formats import open_dictionary, read_saelens, write_saelens

from .seen import SAELENS, D, F, assert_does, drawn, seen_in

sae_lens = pytest.importorskip("sae_lens", reason="SAELens is an extra: pip install 'unmask[saelens]'")

Hub = Callable[[dict[str, Path]], None]


def theirs(sae: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        codes = sae.encode(x)
        return {"x": x, "codes": codes, "out": sae.decode(codes)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("activation", ["topk", "jumprelu", "relu"])
def test_saelens_does_what_was_written(
    activation: str, centred: bool, dtype: torch.dtype, tmp_path: Path
) -> None:
    ours = drawn(activation, centred, dtype)
    write_saelens(ours, tmp_path)
    opened = sae_lens.SAE.load_from_disk(tmp_path)
    assert opened.W_enc.dtype == dtype
    exact = sae_lens.SAE.load_from_disk(tmp_path, dtype="float32")
    x = 2 * torch.randn(32, D, generator=torch.Generator().manual_seed(1))
    assert_does(ours.to(torch.float32), theirs(exact, x))
    assert opened.cfg.metadata.seed == 3
    assert opened.cfg.metadata.hook_name == "blocks.3.hook_resid_post"
    assert opened.cfg.metadata.sae_lens_training_version is None


@pytest.mark.parametrize("case", ["topk_rescaled", "topk_checkpoint", "batchtopk_checkpoint", "legacy_topk"])
def test_saelens_does_what_was_read_folded_and_written(case: str, tmp_path: Path) -> None:
    ours = read_saelens(SAELENS / case)
    write_saelens(ours, tmp_path)
    assert_does(ours, theirs(sae_lens.SAE.load_from_disk(tmp_path), seen_in(SAELENS / case)["x"]))


def test_what_saelens_saved_of_ours_is_ours(tmp_path: Path) -> None:
    ours = drawn("jumprelu")
    write_saelens(ours, tmp_path / "ours")
    sae_lens.SAE.load_from_disk(tmp_path / "ours").save_model(tmp_path / "theirs")
    again = read_saelens(tmp_path / "theirs")
    assert again.facts == ours.facts
    assert torch.equal(again.encoder, ours.encoder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Files that the hub has, by `OWNER/REPO/path`."""
    from huggingface_hub.utils import EntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders

    files: dict[str, Path] = {}

    def download(repo_id: str, filename: str, subfolder: str | None = None, **_: Any) -> str:
        name = "/".join(part for part in (repo_id, subfolder, filename) if part)
        if name in files:
            return str(files[name])
        raise EntryNotFoundError(f"no {name}")

    monkeypatch.setattr(pretrained_sae_loaders, "hf_hub_download", download)
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    return files.update


def opened_twice(reference: str, hub: Hub) -> SparseAutoencoder:
    """Once from the hub and once from the cache, which must be the same."""
    from_hub = open_dictionary(reference)
    again = open_dictionary(reference)
    assert torch.equal(from_hub.encoder, again.encoder)
    assert from_hub.facts == again.facts
    assert again.facts["source"] == reference
    return again


@pytest.mark.parametrize("case", ["topk_rescaled", "batchtopk", "standard_uncentred", "legacy_topk"])
def test_a_repository_in_saelens_layout(case: str, hub: Hub) -> None:
    folder = SAELENS / case
    hub({f"somebody/saes/deep/down/{path.name}": path for path in folder.iterdir()})
    sae = opened_twice("saelens:somebody/saes/deep/down", hub)
    assert_does(sae, seen_in(folder))
    assert sae.facts["model"] == "tiny"
    assert sae.facts["layer"] == (3 if case.startswith("legacy") else 4)


def test_a_release_whose_scale_saelens_folds(hub: Hub, tmp_path: Path) -> None:
    """Llama Scope: the scale is in SAELens' list, and from_pretrained folds it."""
    from sae_lens.loading.pretrained_saes_directory import (
        get_norm_scaling_factor,
        get_repo_id_and_folder_name,
    )

    release, identity = "llama_scope_lxr_8x", "l19r_8x"
    repository, folder = get_repo_id_and_folder_name(release, identity)
    hyper = {
        "d_model": D,
        "d_sae": F,
        "hook_point_in": "blocks.19.hook_resid_post",
        "jump_relu_threshold": 0.5,
        "dataset_average_activation_norm": {"in": 1.5},
    }
    (tmp_path / "hyperparams.json").write_text(json.dumps(hyper))
    file = drawn()
    tensors = {
        "encoder.weight": file.encoder,
        "encoder.bias": file.encoder_bias,
        "decoder.weight": file.decoder.mT.contiguous(),
        "decoder.bias": file.bias,
    }
    save_file(tensors, tmp_path / "final.safetensors")
    hub(
        {
            f"{repository}/{folder}/hyperparams.json": tmp_path / "hyperparams.json",
            f"{repository}/{folder}/checkpoints/final.safetensors": tmp_path / "final.safetensors",
        }
    )
    sae = opened_twice(f"saelens:{release}/{identity}", hub)
    real = sae_lens.SAE.from_pretrained(release, identity)
    assert_does(sae, theirs(real, 2 * torch.randn(32, D, generator=torch.Generator().manual_seed(1))))
    assert not sae.centred
    assert sae.facts["layer"] == 20
    scale = get_norm_scaling_factor(release, identity)
    torch.testing.assert_close(sae.encoder, file.encoder * scale)


def test_a_release_from_dictionary_learning(hub: Hub, tmp_path: Path) -> None:
    """BatchTopK with one threshold for all, in a pickle that torch opens safely; −1 where it was never set."""
    from sae_lens.loading.pretrained_saes_directory import get_repo_id_and_folder_name

    release, identity = "llama-3.1-8b-instruct-andyrdt", "resid_post_layer_3_trainer_1"
    trainer = {
        "dict_class": "BatchTopKSAE",
        "activation_dim": D,
        "dict_size": F,
        "layer": 3,
        "lm_name": "somebody/tiny",
        "k": 5,
    }
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"ctx_len": 128}}))
    ours = drawn()
    repository, folder = get_repo_id_and_folder_name(release, identity)
    for name, threshold in (("set", 0.7), ("unset", -1.0)):
        tensors = {
            "encoder.weight": ours.encoder,
            "encoder.bias": ours.encoder_bias,
            "decoder.weight": ours.decoder.mT.contiguous(),
            "b_dec": ours.bias,
            "k": torch.tensor(5),
            "threshold": torch.tensor(threshold),
        }
        torch.save(tensors, tmp_path / f"{name}.pt")
    for name in ("unset", "set"):
        hub(
            {
                f"{repository}/{folder}/config.json": tmp_path / "config.json",
                f"{repository}/{folder}/ae.pt": tmp_path / f"{name}.pt",
            }
        )
        if name == "unset":
            with pytest.raises(DictionaryError, match="below 0"):
                open_dictionary(f"saelens:{release}/{identity}")
    sae = opened_twice(f"saelens:{release}/{identity}", hub)
    real = sae_lens.SAE.from_pretrained(release, identity)
    assert_does(sae, theirs(real, 2 * torch.randn(32, D, generator=torch.Generator().manual_seed(1))))
    assert isinstance(sae.activation, JumpReLU)
    assert sae.centred


@pytest.mark.parametrize(
    ("case", "says"),
    [("gated", "gated"), ("unfolded", "do not hold the scale"), ("hook_z", "attention heads")],
)
def test_a_release_that_ours_cannot_be_is_refused(case: str, says: str, hub: Hub) -> None:
    hub({f"somebody/saes/{case}/{path.name}": path for path in (SAELENS / "refused" / case).iterdir()})
    with pytest.raises(DictionaryError, match=says) as caught:
        open_dictionary(f"saelens:somebody/saes/{case}")
    assert f"saelens:somebody/saes/{case}" in str(caught.value)


def test_what_saelens_cannot_find_is_one_sentence(hub: Hub) -> None:
    for reference in ("saelens:gpt2-small-res-jb/none", "saelens:somebody/saes/none"):
        with pytest.raises(DictionaryError, match="SAELens could not open none") as caught:
            open_dictionary(reference)
        assert "\n" not in str(caught.value)


def test_a_bfloat16_folder_gives_saelens_the_threshold_in_float32(tmp_path: Path) -> None:
    ours = read_saelens(SAELENS / "jumprelu_bfloat16")
    write_saelens(ours, tmp_path)
    assert load_file(tmp_path / "sae_weights.safetensors")["threshold"].dtype == torch.float32
    x = seen_in(SAELENS / "jumprelu_bfloat16")["x"]
    assert_does(ours.to(torch.float32), theirs(sae_lens.SAE.load_from_disk(tmp_path, dtype="float32"), x))
