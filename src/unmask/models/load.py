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
) -> Model:
    """Load a model, merge its adapters and check that its residual stream can be read.

    Adapters are merged and noise is added in fp32; the result is rounded once.

    Args:
        reference: words, a parsed reference, or one already resolved.
        device: "auto" (cuda, else mps, else cpu) or a torch device.
        dtype: "auto" (bf16 where the hardware computes in it, else fp32), "float32", "bfloat16" or "float16".
        allow_pickle: take pickle weights, which can run any code when they are opened.
        trust_remote_code: run model code that comes with the weights.

    Raises:
        ModelError: the reference, its files, its adapters, the device or the dtype cannot be used.
    """
    import torch

    from unmask.models.model import Model
    from unmask.models.variants import add_noise, merge_adapter

    place = torch.device(choose_device(device))
    target = choose_dtype(dtype, place)
    found = reference if isinstance(reference, Resolved) else resolve(reference, allow_pickle=allow_pickle)
    check_folder(found.name, found.folder, allow_pickle, adapter=False)
    for adapter in found.adapters:
        check_folder(str(adapter), adapter, allow_pickle, adapter=True)
    tokenizer = load_tokenizer(found, trust_remote_code)
    changed = bool(found.adapters or found.reference.noise)
    net = _weights(found, torch.float32 if changed else target, trust_remote_code)
    for adapter in found.adapters:
        net = merge_adapter(net, adapter, found.name)
    if found.reference.noise:
        add_noise(net, found.reference.noise, found.reference.noise_seed)
    if changed and target != torch.float32:
        net = _rounded(net, _weights(found, target, trust_remote_code))
    return Model(net.to(place), tokenizer, found.name, found.identity)


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


def _weights(found: Resolved, dtype: torch.dtype, trust_remote_code: bool) -> Any:
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


def _rounded(exact: Any, net: Any) -> Any:
    """`net` with the weights of `exact`, rounded to the dtypes that `net` was loaded in (some stay fp32)."""
    import torch

    weights = dict(exact.named_parameters())
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(weights[name])
    return net
