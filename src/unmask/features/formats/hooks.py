"""Names of places in a model, and the layer of the residual stream that they are.

Layer 0 is what enters the first block, layer l what leaves block l − 1.
"""

from __future__ import annotations

import re

from unmask.features.errors import DictionaryError

_BEFORE = re.compile(r"blocks\.(\d+)\.hook_resid_pre")
_AFTER = re.compile(r"blocks\.(\d+)\.hook_resid_post|(?:.+\.)?(?:layers|h)\.(\d+)(?:\.output)?")
_INSIDE = re.compile(r"(?:.+\.)?(?:blocks|layers|h)\.\d+\..+")
_EMBEDDING = "hook_embed"


def layer_of(name: str) -> int | None:
    """The layer of a hook's name in TransformerLens (`blocks.3.hook_resid_post`) or transformers (`model.layers.3`).

    Returns:
        The layer, or None where the name is of neither.

    Raises:
        DictionaryError: the place is inside a block, so not in the residual stream.
    """
    if name == _EMBEDDING:
        return 0
    if match := _BEFORE.fullmatch(name):
        return int(match[1])
    if match := _AFTER.fullmatch(name):
        return int(match[1] or match[2]) + 1
    if _INSIDE.fullmatch(name):
        raise DictionaryError(
            f"it was trained on {name}, and unmask reads the residual stream; take one of hook_resid_pre, "
            "hook_resid_post or a whole block's output."
        )
    return None


def hook_names(layer: int) -> dict[str, str]:
    """A layer's names in TransformerLens (`hook_name`) and transformers (`hf_hook_name`)."""
    if layer == 0:
        return {"hook_name": "blocks.0.hook_resid_pre"}
    return {
        "hook_name": f"blocks.{layer - 1}.hook_resid_post",
        "hf_hook_name": f"model.layers.{layer - 1}",
    }
