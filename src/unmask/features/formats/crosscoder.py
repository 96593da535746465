"""A crosscoder as a folder: `crosscoder.safetensors` and `cfg.json`.

Crosscoders have no common format. The tensors have the names and shapes of those that Minder et al. (2504.02922)
published, with M models, base first, F latents and d wide, and there are two more:

    encoder.weight  [M, d, F]    reads activations divided by `scale`
    encoder.bias    [F]
    decoder.weight  [M, F, d]    what a latent writes when it is 1, in units of `scale`
    decoder.bias    [M, d]       in units of `scale`; not taken from the input
    scale           [M]          what each model's activations are divided by
    threshold       [F]          of activation "jumprelu" alone: a latent is active above it

`cfg.json` has `architecture` ("crosscoder"), `n_models`, `d_in`, `d_sae`, `dtype`, `activation` ("topk", "jumprelu" or
"relu"), `k` of topk, and what the crosscoder says of itself under `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.features.autoencoder import Activation, JumpReLU, ReLU, TopK
from unmask.features.crosscoder import Crosscoder
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

WEIGHTS = "crosscoder.safetensors"
ARCHITECTURE = "crosscoder"


def write_crosscoder(crosscoder: Crosscoder, folder: Path) -> None:
    """Store a crosscoder; what was in the folder is replaced.

    `cfg.json` comes last, so a folder that has one is whole.

    Raises:
        DictionaryError: facts that are not JSON.
    """
    activation = crosscoder.activation
    config = {
        "architecture": ARCHITECTURE,
        "n_models": 2,
        "d_in": crosscoder.d_model,
        "d_sae": crosscoder.n_latents,
        "dtype": str(crosscoder.encoder.dtype).removeprefix("torch."),
        **_described(activation),
        "metadata": dict(crosscoder.facts),
    }
    tensors = {
        "encoder.weight": crosscoder.encoder.permute(1, 2, 0),
        "encoder.bias": crosscoder.encoder_bias,
        "decoder.weight": crosscoder.decoder.permute(1, 0, 2),
        "decoder.bias": crosscoder.bias,
        "scale": crosscoder.scale,
    }
    if isinstance(activation, JumpReLU):
        tensors["threshold"] = activation.threshold
    write_dictionary(folder, WEIGHTS, tensors, config)


def read_crosscoder(folder: Path) -> Crosscoder:
    """The crosscoder in a folder, on the CPU and in the dtype that it was stored in.

    Raises:
        DictionaryError: no crosscoder there, or a damaged one.
    """
    with said_of(f"The crosscoder in {folder}"):
        return _crosscoder(read_config(folder / CONFIG), read_tensors(folder / WEIGHTS))


def _crosscoder(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Crosscoder:
    if (kind := value_of(config, "architecture")) != ARCHITECTURE:
        raise DictionaryError(f"its architecture is {kind!r}, and {ARCHITECTURE!r} was expected.")
    if (models := count_of(config, "n_models")) != 2:
        raise DictionaryError(f"it is of {models} models, and unmask compares 2: base and aligned.")
    d, n_latents = count_of(config, "d_in"), count_of(config, "d_sae")
    name = value_of(config, "activation")
    if name not in ("topk", "jumprelu", "relu"):
        raise DictionaryError(f"its activation is {name!r}, and unmask reads topk, jumprelu and relu.")
    shapes: dict[str, tuple[int, ...]] = {
        "encoder.weight": (2, d, n_latents),
        "encoder.bias": (n_latents,),
        "decoder.weight": (2, n_latents, d),
        "decoder.bias": (2, d),
        "scale": (2,),
    }
    check_tensors(tensors, shapes | ({"threshold": (n_latents,)} if name == "jumprelu" else {}))
    activation: Activation = ReLU()
    if name == "topk":
        activation = TopK(count_of(config, "k"))
    elif name == "jumprelu":
        activation = JumpReLU(tensors["threshold"].float())
    facts = config.get("metadata")
    return Crosscoder(
        scale=tensors["scale"],
        encoder=tensors["encoder.weight"].permute(2, 0, 1).contiguous(),
        encoder_bias=tensors["encoder.bias"],
        decoder=tensors["decoder.weight"].permute(1, 0, 2).contiguous(),
        bias=tensors["decoder.bias"],
        activation=activation,
        facts=facts if isinstance(facts, dict) else {},
    )


def _described(activation: Activation) -> dict[str, Any]:
    match activation:
        case TopK(k):
            return {"activation": "topk", "k": k}
        case JumpReLU():
            return {"activation": "jumprelu"}
        case ReLU():
            return {"activation": "relu"}
