"""Tells a lack of memory from other faults, and says what helps."""

from __future__ import annotations

TO_FIT = "use --dtype bfloat16, --quantise, --offload on a GPU, a smaller model or a device with more memory"
_WORDS = ("DefaultCPUAllocator", "not enough memory", "out of memory")


def memory_ran_out(error: BaseException) -> bool:
    """Whether an error says so; torch has a class for it on CUDA only, elsewhere the words tell."""
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        word in str(error) for word in _WORDS
    )
