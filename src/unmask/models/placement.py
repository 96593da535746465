"""Making a large model fit: fewer bits a weight, or blocks that wait in main memory until the GPU needs them.

Weights alone are quantised; activations keep the dtype. LLM.int8(), the usual product with 8-bit weights, also rounds
activations and chooses by the whole batch which of them to spare, so that a row depends on its batch mates and a token
on those after it; here its weights are used in a plain product.
"""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from unmask.models.errors import ModelError

WIDTHS = ("8bit", "4bit")
_BLOCK = 64
_RECIPES = {"8bit": "int8 a row", "4bit": f"nf4 in blocks of {_BLOCK}"}
_FOR_WEIGHTS = 0.75  # of the GPU's free memory; the rest is for activations
_LEAST_SHARE = 0.5


def check_placement(quantise: str | None, offload: bool, device: str) -> None:
    """See that a model can be made to fit in this way; looks at no model.

    Raises:
        ModelError: an unknown width, a package that is not installed, or nothing to offload from.
    """
    if quantise is not None and quantise not in WIDTHS:
        raise ModelError(f"Weights cannot be quantised to {quantise!r}; give 8bit or 4bit.")
    if quantise and offload:
        raise ModelError(
            "Quantised weights stay on one device, so they cannot be offloaded as well; give --quantise or --offload."
        )
    if quantise and find_spec("bitsandbytes") is None:
        raise ModelError(
            "Quantised weights need bitsandbytes, which is not installed: pip install 'unmask[quantised]'."
        )
    if offload and torch.device(device).type != "cuda":
        raise ModelError(
            f"There is nothing to offload from: on the device {device} the weights are in main memory anyway; "
            "leave --offload out, or give a cuda device."
        )


def placement_facts(quantise: str | None, offload: bool) -> dict[str, object]:
    """What of this can change an answer's bits; empty where the model is loaded whole and as it is."""
    facts: dict[str, object] = {}
    if quantise:
        facts["quantised"] = f"{quantise} ({_RECIPES[quantise]}, bitsandbytes {version('bitsandbytes')})"
    if offload:
        facts["offload"] = True
    return facts


def how_to_load(
    quantise: str | None, offload: bool, place: torch.device, dtype: torch.dtype
) -> dict[str, Any]:
    """Arguments of `from_pretrained` that bring a model to its place in this way."""
    if offload:
        index = torch.cuda.current_device() if str(place) == place.type else place.index
        free, _ = torch.cuda.mem_get_info(index)
        room = {index: int(_FOR_WEIGHTS * free), "cpu": psutil.virtual_memory().available}
        return {"device_map": "auto", "max_memory": room}
    if not quantise:
        return {}
    from transformers import BitsAndBytesConfig

    if quantise == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
    return {"device_map": {"": place}, "quantization_config": config}


def settle_quantised(net: Any, name: str) -> None:
    """Make a model with bitsandbytes weights compute in its own dtype, each row by itself.

    Raises:
        ModelError: most of its weights could not be quantised.
    """
    from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

    quantised = 0
    for path, module in list(net.named_modules()):
        layer: Any = module
        if isinstance(module, Linear8bitLt):
            codes = layer.weight.data.as_subclass(Tensor)
            net.set_submodule(path, Int8Linear(codes, layer.weight.SCB, layer.bias))
        elif isinstance(module, Linear4bit):
            # Its kernel for processors with bf16 instructions rounds fp32 to bf16, and takes whole blocks only.
            whole = layer.in_features % _BLOCK == 0 and layer.out_features % (_BLOCK // 2) == 0
            if net.dtype == torch.float32 or not whole:
                layer.support_avx512bf16_for_cpu = False
        else:
            continue
        quantised += layer.in_features * layer.out_features
    left = sum(
        parameter.numel()
        for module in net.modules()
        if not isinstance(module, nn.Embedding | Linear4bit) and module is not net.get_output_embeddings()
        for parameter in module.parameters(recurse=False)
        if parameter.ndim > 1
    )
    if quantised < _LEAST_SHARE * (quantised + left):
        raise ModelError(
            f"Only {quantised / (quantised + left):.0%} of the weights in the blocks of {name} can be quantised: the "
            "others are not in plain linear layers (those of a mixture's experts are not); leave --quantise out."
        )


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights, each row of them with a scale of its own.

    A pass makes the weights anew in its own dtype, rounded once, for as long as the product takes.

    Attributes:
        codes: `[out, in]`, int8.
        scale: `[out]`, fp32.
        bias: `[out]` or None.
    """

    codes: Tensor
    scale: Tensor

    def __init__(self, codes: Tensor, largest: Tensor, bias: Tensor | None) -> None:
        """Take codes `[out, in]` that stand for `codes * largest / 127`, `largest` being `[out]`."""
        super().__init__()
        self.out_features, self.in_features = codes.shape
        self.register_buffer("codes", codes)
        self.register_buffer("scale", largest.float() / 127)
        self.bias = bias

    def forward(self, states: Tensor) -> Tensor:
        weight = self.codes.to(states.dtype).mul_(self.scale[:, None])
        return nn.functional.linear(states, weight, self.bias)
