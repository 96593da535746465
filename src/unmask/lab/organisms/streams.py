"""Every write to the residual stream and every read from it, found by following tensors through one forward pass.

A norm takes the stream and hands it to linear maps: these read. The other linear maps of a block that are as wide as
the stream write, some through a norm of their own (Gemma 2 and 3). No module names are looked up. What was found is
checked: the writes must add up to the stream at every layer, or the model is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unmask.lab.organisms.weights import LINEAR, Floats, as_array, bias_of, put, weight_of
from unmask.models.anatomy import row_error
from unmask.models.errors import ModelError
from unmask.models.model import Model
from unmask.models.taps import hooked, on_layer

TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm with a gain: gain ⊙ x / rms(x) + bias.

    Attributes:
        module: the norm.
        centred: the mean over dimensions is taken off first (LayerNorm).
        from_one: the weight is the gain less 1 (Gemma).
        eps: what is added to the mean square.
    """

    module: nn.Module
    centred: bool
    from_one: bool
    eps: float

    @property
    def gain(self) -> Floats:
        """`[d]`."""
        return as_array(weight_of(self.module)) + float(self.from_one)

    @property
    def bias(self) -> Floats | None:
        """`[d]`, or None."""
        bias = bias_of(self.module)
        return None if bias is None else as_array(bias)

    def set(self, gain: Floats, bias: Floats | None = None) -> None:
        """Overwrite the gain `[d]`, and the bias where one is given."""
        put(weight_of(self.module), gain - float(self.from_one))
        own = bias_of(self.module)
        if own is not None and bias is not None:
            put(own, bias)

    def scale(self, factor: float) -> None:
        """Multiply what it puts out."""
        bias = self.bias
        self.set(self.gain * factor, None if bias is None else bias * factor)

    def standard(self, x: Floats) -> Floats:
        """`[..., d]` before gain and bias."""
        if self.centred:
            x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + self.eps)


@dataclass(frozen=True, eq=False)
class Write:
    """Something that adds to the stream.

    Attributes:
        name: of the module in the model.
        layer: 0 for embeddings, l for what block l adds.
        module: `Embedding`, `Linear` or `Conv1D`.
        post: a norm between the module and the stream; None where it writes directly.
    """

    name: str
    layer: int
    module: nn.Module
    post: Norm | None


@dataclass(frozen=True, eq=False)
class Read:
    """A norm on the stream and the linear maps that take what it puts out."""

    norm: Norm
    modules: tuple[nn.Module, ...]


@dataclass(frozen=True, eq=False)
class Streams:
    """A model's writes and reads.

    Attributes:
        model: the model.
        writes: in the order in which they are made; embeddings first.
        reads: of the blocks, in order.
        final: the norm before the unembedding.
        head: the unembedding.
        tied: it shares its weights with the embedding.
    """

    model: Model
    writes: tuple[Write, ...]
    reads: tuple[Read, ...]
    final: Norm
    head: nn.Module
    tied: bool

    @property
    def width(self) -> int:
        """d, of the residual stream."""
        return self.model.d_model


@dataclass(frozen=True, eq=False)
class _Call:
    name: str
    module: nn.Module
    given: Tensor
    made: Tensor


def find_streams(model: Model) -> Streams:
    """Find and check a model's writes and reads.

    Raises:
        ModelError: the model does not add its embeddings' and blocks' writes to one residual stream in a way that
            is understood; edits of its weights would not be what they claim to be.
    """
    anatomy = model.anatomy
    if len(anatomy.norms) != 1:
        raise _not_understood(model, f"it has {len(anatomy.norms)} final norms where one was expected")
    final = _norm(anatomy.norms[0], model.d_model)
    if final is None:
        raise _not_understood(model, "its final norm is neither RMSNorm nor LayerNorm with a gain")
    calls, states, first_block = _trace(model)
    writes = [Write(c.name, 0, c.module, None) for c in calls if isinstance(c.module, nn.Embedding)]
    written = sum((c.made for c in calls if isinstance(c.module, nn.Embedding)), torch.zeros(()))
    if not writes or row_error(torch.as_tensor(written), states[0]) > TOLERANCE:
        raise _not_understood(model, "its embeddings do not add up to the first block's input")
    reads: list[Read] = []
    for block in range(1, model.n_layers + 1):
        inside = [c for c in calls if first_block[id(c)] == block]
        found, more = _in_block(model, inside, block, states[block] - states[block - 1])
        writes += found
        reads += more
    head = anatomy.head
    if not isinstance(head, nn.Linear):
        raise _not_understood(model, f"its unembedding is a {type(head).__name__} and not a plain linear map")
    tied = any(weight_of(head) is weight_of(write.module) for write in writes)
    return Streams(model, tuple(writes), tuple(reads), final, head, tied)


def _not_understood(model: Model, why: str) -> ModelError:
    return ModelError(
        f"The weights of {model.name} ({type(model.net).__name__}) cannot be edited exactly: {why}; give a Llama-, "
        "Qwen-, Gemma- or GPT-2-shaped model."
    )


@torch.inference_mode()
def _trace(model: Model) -> tuple[list[_Call], list[Tensor], dict[int, int]]:
    """Every call of an embedding, linear map or norm in a short pass; the states; and each call's block (0: none)."""
    width = model.d_model
    calls: list[_Call] = []
    states: list[Tensor] = []
    where: dict[int, int] = {}

    def watch(name: str, module: nn.Module) -> Any:
        def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
            given = args[0] if args else next(iter(kwargs.values()))
            call = _Call(name, module, given, made)
            calls.append(call)  # kept alive, so that no address is used twice
            where[id(call)] = len(states)

        return module.register_forward_hook(after, with_kwargs=True)

    watched = [
        (name, module)
        for name, module in model.net.named_modules()
        if isinstance(module, (nn.Embedding, *LINEAR)) or _looks_like_norm(module, width)
    ]
    handles = [watch(name, module) for name, module in watched]
    blocks = model.anatomy.blocks
    handles += [on_layer(blocks, layer, states.append) for layer in range(len(blocks) + 1)]
    ids = torch.arange(3, min(15, model.anatomy.vocabulary), device=model.anatomy.device)[None]
    with hooked(handles):
        model.anatomy.decoder(input_ids=ids, use_cache=False)
    calls = [
        call for call in calls if not isinstance(call.module, nn.Embedding) or call.made.shape[-1] == width
    ]
    return calls, states, where


def _in_block(
    model: Model, calls: Sequence[_Call], block: int, added: Tensor
) -> tuple[list[Write], list[Read]]:
    width = model.d_model
    norms = [c for c in calls if _looks_like_norm(c.module, width)]
    linear = [c for c in calls if isinstance(c.module, LINEAR)]
    from_norm = {c.made.data_ptr(): c for c in norms}
    reading = {id(c) for c in linear if c.given.data_ptr() in from_norm}
    writing = [c for c in linear if id(c) not in reading and c.made.shape[-1] == width]
    by_output = {c.made.data_ptr(): c for c in writing}
    posts = {by_output[n.given.data_ptr()].name: n for n in norms if n.given.data_ptr() in by_output}
    writes: list[Write] = []
    total = torch.zeros_like(added)
    for call in writing:
        post = posts.get(call.name)
        understood = None if post is None else _norm(post.module, width)
        if post is not None and (understood is None or understood.centred):
            raise _not_understood(model, f"block {block} writes through a norm that is no RMSNorm")
        writes.append(Write(call.name, block, call.module, understood))
        total = total + (call.made if post is None else post.made)
    if row_error(total, added) > TOLERANCE:
        raise _not_understood(model, f"what its linear maps write does not add up to what block {block} adds")
    after = {id(n) for n in posts.values()}
    reads: list[Read] = []
    for call in norms:
        if id(call) in after:
            continue
        norm = _norm(call.module, width)
        takers = tuple(c.module for c in linear if c.given.data_ptr() == call.made.data_ptr())
        if norm is None or not takers:
            raise _not_understood(model, f"a norm of block {block} is not one that linear maps alone read")
        reads.append(Read(norm, takers))
    if not reads:
        raise _not_understood(model, f"block {block} reads the stream without a norm")
    return writes, reads


def _looks_like_norm(module: nn.Module, width: int) -> bool:
    own = dict(module.named_parameters(recurse=False))
    weight = own.get("weight")
    return not any(module.children()) and weight is not None and weight.shape == (width,)


def _norm(module: nn.Module, width: int) -> Norm | None:
    """The norm's form, if one of the known ones gives what it gives."""
    if not _looks_like_norm(module, width):
        return None
    eps = next((float(getattr(module, k)) for k in ("eps", "variance_epsilon") if hasattr(module, k)), 0.0)
    x = torch.from_numpy(np.random.default_rng(0).normal(0.5, 2.0, (8, width)))
    with torch.inference_mode():
        made = as_array(module(x.to(weight_of(module))))
    for centred in (False, True):
        for from_one in (False, True):
            norm = Norm(module, centred, from_one, eps)
            expected = norm.gain * norm.standard(x.numpy()) + (0.0 if norm.bias is None else norm.bias)
            if np.allclose(made, expected, rtol=TOLERANCE, atol=TOLERANCE * float(np.abs(made).max())):
                return norm
    return None
