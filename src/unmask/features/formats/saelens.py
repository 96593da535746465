"""SAELens' folders, which are unmask's own too: `cfg.json` and `sae_weights.safetensors`.

What is written here is opened by `SAE.load_from_disk` of SAELens 6 and does the same there. What SAELens wrote is read
if it is, or can be folded into, an autoencoder of ours; everything else is refused.

A BatchTopK autoencoder is a "jumprelu" in SAELens' folders once it is trained, and "batchtopk" in its checkpoints.

Source: SAELens 6.54.12.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.features.autoencoder import (
    Activation,
    JumpReLU,
    ReLU,
    SparseAutoencoder,
    TopK,
    with_unit_decoder,
)
from unmask.features.errors import DictionaryError
from unmask.features.formats.files import (
    CONFIG,
    check_tensors,
    count_of,
    read_config,
    read_tensors,
    said_of,
    value_of,
    write_dictionary,
)
from unmask.features.formats.hooks import hook_names, layer_of
from unmask.features.formats.legacy import modern

WEIGHTS = "sae_weights.safetensors"
VERSION = "6.54.12"
"""The SAELens whose layout this is; without one in `metadata` SAELens takes a folder for an old one."""

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
}
_BATCHED = ("batchtopk", "matryoshka_batchtopk")
_READ = ("standard", "topk", "jumprelu", *_BATCHED)
_OURS = ("sae_lens_version", "model", "model_name", "layer", "hook_name", "hf_hook_name")
"""Metadata that says where an autoencoder belongs: `facts` holds it as `model` and `layer`."""


def write_saelens(sae: SparseAutoencoder, folder: Path) -> None:
    """Store an autoencoder; what was in the folder is replaced.

    Raises:
        DictionaryError: facts that are not JSON, or weights of a dtype that SAELens does not know.
    """
    tensors = {
        "W_enc": sae.encoder.mT,
        "b_enc": sae.encoder_bias,
        "W_dec": sae.decoder,
        "b_dec": sae.bias,
    }
    if isinstance(sae.activation, JumpReLU):
        tensors["threshold"] = sae.activation.threshold
    write_dictionary(folder, WEIGHTS, tensors, _config(sae))


def read_saelens(folder: Path) -> SparseAutoencoder:
    """The autoencoder in a folder, as SAELens' own `SAE.load_from_disk` would use it.

    Weights have the dtype that its `cfg.json` says; a threshold stays in float32, where SAELens rounds it too.

    Raises:
        DictionaryError: no such autoencoder, a damaged one, or one that unmask cannot represent exactly.
    """
    with said_of(f"The autoencoder in {folder}"):
        return from_saelens(read_config(folder / CONFIG), read_tensors(folder / WEIGHTS))


def from_saelens(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> SparseAutoencoder:
    """From SAELens' description and tensors: W_enc `[d, F]`, b_enc `[F]`, W_dec `[F, d]`, b_dec `[d]`, threshold `[F]`.

    Raises:
        DictionaryError: what is described cannot be represented exactly, or the tensors are not of it.
    """
    config = modern(config)
    _refuse(config)
    kind = config["architecture"]
    dtype = _DTYPES[str(config["dtype"]).removeprefix("torch.")]
    d, n_latents = count_of(config, "d_in"), count_of(config, "d_sae")
    tensors = dict(tensors)
    scaling = tensors.get("scaling_factor")
    if scaling is not None and torch.allclose(scaling.float(), torch.ones(())):
        del tensors["scaling_factor"]  # of a fine-tuning that never was
    activation = _activation(kind, config, tensors, n_latents)
    check_tensors(
        tensors, {"W_enc": (d, n_latents), "b_enc": (n_latents,), "W_dec": (n_latents, d), "b_dec": (d,)}
    )
    sae = SparseAutoencoder(
        encoder=tensors["W_enc"].to(dtype).mT.contiguous(),
        encoder_bias=tensors["b_enc"].to(dtype),
        decoder=tensors["W_dec"].to(dtype),
        bias=tensors["b_dec"].to(dtype),
        activation=ReLU(),
        centred=bool(config.get("apply_b_dec_to_input", True)),
        facts=_facts(config.get("metadata") or {}),
    )
    if kind in ("topk", *_BATCHED) and config.get("rescale_acts_by_decoder_norm", False):
        sae = with_unit_decoder(sae)  # before the activation, whose threshold is in these units already
    return replace(sae, activation=activation)


def _config(sae: SparseAutoencoder) -> dict[str, Any]:
    dtype = str(sae.encoder.dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise DictionaryError(f"Weights of {dtype} cannot be stored; use one of {', '.join(_DTYPES)}.")
    kind: dict[str, Any]
    match sae.activation:
        case TopK(k):
            kind = {"architecture": "topk", "k": k, "rescale_acts_by_decoder_norm": False}
        case JumpReLU():
            kind = {"architecture": "jumprelu"}
        case ReLU():
            kind = {"architecture": "standard"}
    return kind | {
        "d_in": sae.d_model,
        "d_sae": sae.n_latents,
        "dtype": dtype,
        "device": "cpu",
        "apply_b_dec_to_input": sae.centred,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": _metadata(sae.facts),
    }


def _metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    # Absent, SAELens would put the version that opens it.
    metadata: dict[str, Any] = {
        "sae_lens_training_version": None,
        **facts,
        "sae_lens_version": VERSION,
    }
    if (model := metadata.pop("model", None)) is not None:
        metadata["model_name"] = model
    if (layer := metadata.pop("layer", None)) is not None:
        metadata |= hook_names(layer)
    return metadata


def _facts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: value for key, value in metadata.items() if key not in _OURS}
    if facts.get("sae_lens_training_version", "") is None:
        del facts["sae_lens_training_version"]
    if metadata.get("model_name") is not None:
        facts["model"] = metadata["model_name"]
    names = {
        key: metadata[key] for key in ("hook_name", "hf_hook_name") if isinstance(metadata.get(key), str)
    }
    layers = (layer for name in names.values() if (layer := layer_of(name)) is not None)
    layer = next(layers, None)
    return facts | (names if layer is None else {"layer": layer})


def _refuse(config: Mapping[str, Any]) -> None:
    """Raise a DictionaryError for what an autoencoder of ours cannot be."""
    kind = value_of(config, "architecture")
    if kind not in _READ:
        raise DictionaryError(f"its architecture is {kind!r}, and unmask reads {', '.join(_READ)}.")
    normalised = config.get("normalize_activations", "none")
    if normalised == "expected_average_only_in":
        raise DictionaryError(
            "its inputs were scaled in training and its weights do not hold the scale yet; fold it with SAELens' "
            "fold_activation_norm_scaling_factor and save it again."
        )
    if normalised != "none":
        raise DictionaryError(f"it normalises its inputs ({normalised}), and unmask reads those that do not.")
    reshaped = config.get("reshape_activations") or "none"
    if reshaped != "none":
        raise DictionaryError(f"it reads attention heads ({reshaped}), and unmask reads the residual stream.")
    dtype = value_of(config, "dtype")
    if str(dtype).removeprefix("torch.") not in _DTYPES:
        raise DictionaryError(f"its dtype is {dtype!r}, and one of {', '.join(_DTYPES)} was expected.")


def _activation(
    kind: str, config: Mapping[str, Any], tensors: dict[str, Tensor], n_latents: int
) -> Activation:
    """The activation; what it takes from `tensors` is gone from there."""
    if kind == "standard":
        return ReLU()
    if kind == "topk":
        return TopK(count_of(config, "k"))
    name = "topk_threshold" if kind in _BATCHED else "threshold"
    threshold = tensors.pop(name, None)
    if threshold is None and kind == "jumprelu" and "log_threshold" in tensors:
        threshold = tensors.pop("log_threshold").float().exp()
    if threshold is None:
        raise DictionaryError(f"its tensor {name} is missing, so nothing says which latents are active.")
    if kind in _BATCHED and not bool(threshold.any()):
        raise DictionaryError("it is a checkpoint from before its threshold was set; train it to the end.")
    threshold = threshold.float()
    if threshold.numel() == 1:
        threshold = threshold.reshape(1).repeat(n_latents)
    # The last step of training can take one below 0, where SAELens' ReLU gates in its place; not all of them.
    if bool((threshold > 0).any()):
        threshold = threshold.clamp_min(0)
    if threshold.shape != (n_latents,):
        raise DictionaryError(
            f"its tensor {name} is {list(threshold.shape)}, and by its {CONFIG} it must be {[n_latents]}."
        )
    return JumpReLU(threshold)
