"""EleutherAI's sparsify: a folder a hookpoint, named after it, with `cfg.json` and `sae.safetensors`.

Its encoder takes the ReLU before the top k and ours after it, which leaves the same active latents. It always subtracts
the decoder's bias from the input. `normalize_decoder` and `multi_topk` say how it was trained and nothing of its use.

Source: eai-sparsify 1.3.3. SAELens' own reader of this format lays W_dec the wrong way round and takes the bias from
`normalize_decoder`, so it is of no use here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unmask.features.autoencoder import SparseAutoencoder, TopK
from unmask.features.errors import DictionaryError
from unmask.features.formats.files import (
    CONFIG,
    check_tensors,
    count_of,
    read_config,
    read_tensors,
    said_of,
)
from unmask.features.formats.hooks import layer_of

WEIGHTS = "sae.safetensors"
_SEED = re.compile(r"seed\d+")


def read_sparsify(folder: Path) -> SparseAutoencoder:
    """The autoencoder in a hookpoint's folder; its layer is told from the folder's name (`layers.15` is layer 16).

    Raises:
        DictionaryError: no such autoencoder, a damaged one, or one that unmask cannot represent exactly.
    """
    with said_of(f"The autoencoder in {folder}"):
        config = read_config(folder / CONFIG)
        _refuse(config)
        tensors = read_tensors(folder / WEIGHTS)
        d = count_of(config, "d_in")
        by_factor = not config.get("num_latents")
        n_latents = d * count_of(config, "expansion_factor") if by_factor else count_of(config, "num_latents")
        check_tensors(
            tensors,
            {
                "encoder.weight": (n_latents, d),
                "encoder.bias": (n_latents,),
                "W_dec": (n_latents, d),
                "b_dec": (d,),
            },
        )
        return SparseAutoencoder(
            encoder=tensors["encoder.weight"],
            encoder_bias=tensors["encoder.bias"],
            decoder=tensors["W_dec"],
            bias=tensors["b_dec"],
            activation=TopK(count_of(config, "k")),
            facts=_facts(folder.resolve()),
        )


def _refuse(config: Mapping[str, Any]) -> None:
    """Raise a DictionaryError for what an autoencoder of ours cannot be."""
    activation = config.get("activation", "topk")
    if activation != "topk":
        raise DictionaryError(f"its activation is {activation!r}, and topk was expected.")
    for key, what in (
        ("transcode", "it is a transcoder, from a module's input to its output"),
        ("skip_connection", "it has a skip connection"),
        ("signed", "its codes have signs"),
    ):
        if config.get(key):
            raise DictionaryError(f'{what} ("{key}" in its {CONFIG}), and unmask reads plain autoencoders.')


def _facts(folder: Path) -> dict[str, Any]:
    hookpoint = folder.parent if _SEED.fullmatch(folder.name) else folder
    facts: dict[str, Any] = {}
    run = hookpoint.parent / "config.json"
    if run.is_file():
        said = read_config(run)
        if "sae" in said:  # a run of sparsify's, and not some model's
            facts = {key: said[key] for key in ("model", "dataset", "ctx_len") if key in said}
    if (layer := layer_of(hookpoint.name)) is not None:
        facts["layer"] = layer
    return facts
