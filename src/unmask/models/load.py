"""From a reference to a loaded model: dtype, device, adapters, noise, and the refusals that keep loading safe.

torch is imported inside the functions, so that `import unmask` stays light.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unmask.models.errors import ModelError
from unmask.models.files.gguf import quiet
from unmask.models.files.places import check_folder
from unmask.models.files.tokenizers import VOCABULARIES
from unmask.models.memory import TO_FIT, memory_ran_out
from unmask.models.references import Reference, Resolved, resolve

if TYPE_CHECKING:
    import torch

    from unmask.models.model import Model

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def load_model(
    reference: str | Reference | Resolved,
    device: str = "auto",
    dtype: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    quantise: str | None = None,
    offload: bool = False,
) -> Model:
    """Load a model, merge its adapters and check that its residual stream can be read.

    Adapters are merged and noise is added in fp32; the result is rounded once, and quantised after that.

    Args:
        reference: words, a parsed reference, or one already resolved.
        device: "auto" (cuda, else mps, else cpu) or a torch device.
        dtype: "auto" (bf16 where the hardware computes in it, else fp32), "float32", "bfloat16" or "float16".
        allow_pickle: take pickle weights, which can run any code when they are opened.
        trust_remote_code: run model code that comes with the weights.
        quantise: "8bit" or "4bit" weights in the blocks (needs bitsandbytes); the rest is computed in `dtype`.
        offload: keep the blocks that do not fit on the GPU in main memory.

    Raises:
        ModelError: the reference, its files, its adapters, the device, the dtype or the packages cannot be used, or
            the memory does not hold the weights.
    """
    import torch

    from unmask.models.model import Model
    from unmask.models.placement import check_placement, how_to_load, settle_quantised
    from unmask.models.variants import add_noise, merge_adapter

    place = torch.device(choose_device(device))
    check_placement(quantise, offload, str(place))
    target = choose_dtype(dtype, place)
    found = reference if isinstance(reference, Resolved) else resolve(reference, allow_pickle=allow_pickle)
    check_folder(found.name, found.folder, allow_pickle, adapter=False)
    for adapter in found.adapters:
        check_folder(str(adapter), adapter, allow_pickle, adapter=True)
    tokenizer = load_tokenizer(found, trust_remote_code)
    if quantise:
        _check_unquantised(found, trust_remote_code)
    changed = bool(found.adapters or found.reference.noise)
    how = how_to_load(quantise, offload, place, target)
    try:
        net = _weights(found, torch.float32 if changed else target, trust_remote_code, {} if changed else how)
        for adapter in found.adapters:
            net = merge_adapter(net, adapter, found.name)
        if found.reference.noise:
            add_noise(net, found.reference.noise, found.reference.noise_seed)
        if changed and (how or target != torch.float32):
            net = _again(net, found, target, how)
        if quantise:
            settle_quantised(net, found.name)
        return Model(net if how else net.to(place), tokenizer, found.name, found.identity)
    except (RuntimeError, MemoryError) as error:
        if memory_ran_out(error):
            raise _too_large(found) from error
        raise


def choose_device(device: str) -> str:
    """The torch device for a name; "auto" is cuda, else mps, else cpu.

    Raises:
        ModelError: torch does not know it, or this machine has none of that kind or fewer than its number says.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        wanted = torch.device(device)
        count = _device_count(wanted)
    except RuntimeError as error:
        raise ModelError(
            f"The device {device!r} is unknown; give auto, cpu, cuda, cuda:1, mps, …."
        ) from error
    if (wanted.index or 0) >= count:
        there = ", ".join(f"{wanted.type}:{i}" for i in range(count)) or f"no {wanted.type} device"
        raise ModelError(
            f"The device {device!r} is not on this machine, which has {there}; give auto or cpu."
        )
    return device


def _device_count(kind: torch.device) -> int:
    import torch

    if kind.type == "cuda" and not torch.cuda.is_available():
        return 0  # with a driver too old for this torch, devices are counted all the same
    return torch.get_device_module(kind).device_count()


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The torch dtype for a name; "auto" is bf16 where the device computes in it, else fp32.

    Raises:
        ModelError: an unknown name.
    """
    import torch

    if dtype != "auto":
        name = _DTYPES.get(dtype, dtype)
        if name not in _DTYPES.values():
            raise ModelError(f"The dtype {dtype!r} is unknown; give auto, float32, bfloat16 or float16.")
        return getattr(torch, name)
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = device.type == "cpu" and _cpu_has_bf16()
    return torch.bfloat16 if has_bf16 else torch.float32


def _cpu_has_bf16() -> bool:
    """Whether Linux names bf16 instructions for this processor (elsewhere: no)."""
    if platform.system() != "Linux":
        return False
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def model_shape(found: Resolved, trust_remote_code: bool = False) -> tuple[int, int]:
    """How many blocks a model has and how wide its residual stream is, from its config alone.

    Raises:
        ModelError: the config cannot be read.
    """
    text = _config(found, trust_remote_code).get_text_config()
    return int(text.num_hidden_layers), int(text.hidden_size)


def _config(found: Resolved, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(found.folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # transformers raises many kinds here
        raise _load_error(found, "config", found.folder, error, trust_remote_code) from error


def _check_unquantised(found: Resolved, trust_remote_code: bool) -> None:
    given: Any = getattr(_config(found, trust_remote_code), "quantization_config", None)
    if given:
        kind = given.get("quant_method") if isinstance(given, dict) else None
        raise ModelError(
            f"The weights of {found.name} are already quantised ({kind or type(given).__name__}); leave --quantise out."
        )


def load_tokenizer(found: Resolved, trust_remote_code: bool = False) -> Any:
    """A model's tokenizer without its weights; that of its last adapter which brings one, else its own.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    place = found.tokenizer
    if not any(any(place.folder.glob(pattern)) for pattern in VOCABULARIES):
        raise ModelError(
            f"{found.name} has no tokenizer: tokenizer.json (or tokenizer.model, vocab.json) was expected in "
            f"{place.folder}; save the tokenizer of the model that it was trained from there."
        )
    known = {} if place.folder == found.folder else {"config": _config(found, trust_remote_code)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(place.folder, trust_remote_code=trust_remote_code, **known)
    except Exception as error:  # as above
        raise _load_error(found, "tokenizer", place.folder, error, trust_remote_code) from error
    if place.template is not None:
        tokenizer.chat_template = place.template.read_text(encoding="utf-8")
    return tokenizer


def _weights(found: Resolved, dtype: torch.dtype, trust_remote_code: bool, how: dict[str, Any]) -> Any:
    from transformers import AutoModelForCausalLM

    safe = next(found.folder.glob("*.safetensors"), None) is not None
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                found.folder,
                dtype=dtype,
                use_safetensors=safe,
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                output_loading_info=True,
                **how,
            )
    except Exception as error:  # as above
        raise _load_error(found, "weights", found.folder, error, trust_remote_code) from error
    net, info = loaded
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"The weights of {found.name} lack {len(missing)} tensors that its config asks for, such as {missing[0]}; "
            "config and weights are not of the same model."
        )
    return net


def _load_error(
    found: Resolved, what: str, folder: Path, error: Exception, trust_remote_code: bool
) -> ModelError:
    if memory_ran_out(error):
        return _too_large(found)
    if "trust_remote_code" in str(error) and not trust_remote_code:
        return ModelError(
            f"{found.name} brings its own Python code, which unmask does not run; pass trust_remote_code=True "
            "(--trust-remote-code) if you have read it and trust it."
        )
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    return ModelError(
        f"The {what} of {found.name} in {folder} could not be loaded ({type(error).__name__}: {first}); "
        "a causal language model that this version of transformers knows was expected."
    )


def _too_large(found: Resolved) -> ModelError:
    return ModelError(f"There is not enough memory for the weights of {found.name}; {TO_FIT}.")


def _again(net: Any, found: Resolved, dtype: torch.dtype, how: dict[str, Any]) -> Any:
    """A model in memory as if loaded from disk: rounded (some parts stay fp32), quantised, brought to its place."""
    try:
        with quiet():
            return type(net).from_pretrained(
                None,
                config=net.config,
                state_dict=net.state_dict(),
                generation_config=net.generation_config,
                dtype=dtype,
                **how,
            )
    except Exception as error:  # as above
        raise _load_error(found, "changed weights", found.folder, error, trust_remote_code=True) from error
