"""What a reference may do to a model's weights: merge PEFT adapters made for it, or add Gaussian noise."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from unmask.models.errors import ModelError
from unmask.models.files.gguf import quiet
from unmask.models.files.places import adapter_config

_PREFIX = "base_model.model."


def merge_adapter(net: Any, folder: Path, name: str) -> Any:
    """The model with the adapter in its weights; compute it in fp32 by giving a model in fp32.

    Args:
        net: a transformers model.
        folder: the adapter's folder.
        name: the model's name, for messages.

    Raises:
        ModelError: the adapter is for another architecture, or PEFT cannot apply it.
    """
    with quiet():  # PEFT imports bitsandbytes, which tells what it could do with more packages
        from peft import PeftModel
    trained_on = adapter_config(folder).get("base_model_name_or_path") or "a model that it does not name"
    _check_shapes(net, folder, name, trained_on)
    try:
        with quiet():
            return PeftModel.from_pretrained(net, str(folder)).merge_and_unload(safe_merge=True)
    except Exception as error:  # PEFT raises many kinds on an adapter that does not fit
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ModelError(
            f"The adapter {folder} could not be merged into {name} ({type(error).__name__}: {first}); "
            f"it was trained on {trained_on}."
        ) from error


def _check_shapes(net: Any, folder: Path, name: str, trained_on: str) -> None:
    """Compare each low-rank matrix with the weight that it goes into; PEFT would skip what it cannot place."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        return
    modules = dict(net.named_modules())
    with safe_open(file, framework="pt") as tensors:
        for key in tensors.keys():  # noqa: SIM118  (safe_open is no mapping)
            module, _, part = key.removeprefix(_PREFIX).partition(".lora_")
            if part not in ("A.weight", "B.weight"):
                continue
            if module not in modules:
                raise ModelError(
                    f"The adapter {folder} changes {module}, which {name} does not have; "
                    f"it was trained on {trained_on}, another architecture."
                )
            width = tensors.get_slice(key).get_shape()[1 if part[0] == "A" else 0]
            shape = tuple(modules[module].weight.shape)
            if width not in shape:
                raise ModelError(
                    f"The adapter {folder} does not fit {name}: for {module} it has width {width}, "
                    f"but the model's weight is {' × '.join(map(str, shape))}; it was trained on {trained_on}."
                )


@torch.no_grad()
def add_noise(net: Any, scale: float, seed: int) -> None:
    """Add noise to every weight matrix in place.

    Args:
        net: a torch module; tensors with fewer than two axes (norms, biases) are left alone, tied ones change once.
        scale: sd of the noise as a share of each matrix's own sd.
        seed: a matrix's noise depends on it and on the matrix's name, not on the order of the matrices.
    """
    for name, parameter in net.named_parameters():
        if parameter.ndim < 2:
            continue
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        parameter.add_((noise * (scale * float(parameter.float().std()))).to(parameter))
