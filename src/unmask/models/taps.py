"""One hook on one layer of the residual stream, whatever a block takes and returns."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Visit = Callable[[Tensor], "Tensor | None"]
"""Sees a layer's states `[B, T, d]`; what it returns replaces them, None leaves them."""


def first_tensor(output: Any) -> Tensor:
    """The states in what a block returns: the tensor itself, or a tuple's first."""
    return output if isinstance(output, Tensor) else output[0]


def on_layer(blocks: Sequence[nn.Module], layer: int, visit: Visit) -> RemovableHandle:
    """Hook `visit` on a layer: 0 is the first block's input, l >= 1 block l's output; later hooks see its changes."""
    if layer == 0:

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            changed = visit(args[0] if args else kwargs["hidden_states"])
            if changed is None:
                return None
            return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

        return blocks[0].register_forward_pre_hook(before, with_kwargs=True)

    def after(_: nn.Module, args: Any, output: Any) -> Any:
        changed = visit(first_tensor(output))
        if changed is None:
            return None
        return changed if isinstance(output, Tensor) else (changed, *output[1:])

    return blocks[layer - 1].register_forward_hook(after)


@contextmanager
def hooked(handles: Sequence[RemovableHandle]) -> Generator[None]:
    """Remove the hooks when the block ends, however it ends."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield
