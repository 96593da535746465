"""SAELens' descriptions from before version 6, in version 6's words.

Source: `handle_pre_6_0_config` of SAELens 6.54.12.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from unmask.features.errors import DictionaryError

_RENAMED = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
_METADATA = (
    "model_name",
    "hook_name",
    "hf_hook_name",
    "hook_head_index",
    "model_class_name",
    "model_from_pretrained_kwargs",
    "prepend_bos",
    "exclude_special_tokens",
    "context_size",
    "seqpos_slice",
    "dataset_path",
    "neuronpedia_id",
    "sae_lens_training_version",
)


def modern(config: Mapping[str, Any]) -> dict[str, Any]:
    """A description in version 6's words; one of version 6 as it is.

    Raises:
        DictionaryError: an activation function that version 6 no longer has, or metadata that is no object.
    """
    metadata = config.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise DictionaryError(f"its metadata is {metadata!r}, and a JSON object was expected.")
    version = config.get("sae_lens_version") or metadata.get("sae_lens_version")
    if (number := re.match(r"\d+", str(version))) and int(number[0]) >= 6:
        return dict(config)
    old = {_RENAMED.get(key, key): value for key, value in config.items()}
    new = {"architecture": "standard", **old}
    function = old.get("activation_fn") or "relu"
    if function == "topk":
        new |= {"architecture": "topk", "k": (old.get("activation_fn_kwargs") or old).get("k")}
    elif function != "relu":
        raise DictionaryError(f"its activation function is {function!r}, and relu or topk was expected.")
    if "hook_z" in str(old.get("hook_name")):
        new.setdefault("reshape_activations", "hook_z")
    normalised = old.get("normalize_activations") or "none"
    new["normalize_activations"] = "expected_average_only_in" if normalised is True else normalised
    new["metadata"] = metadata | {key: old[key] for key in _METADATA if key in old}
    return new
