"""Where a causal language model keeps its blocks, final norm and unembedding, found by looking and then checked.

No table of model names: the parts are found by their role in one short forward pass, and the model is refused
unless hooked states agree with its own hidden states and its own logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask.models.errors import ModelError
from unmask.models.taps import first_tensor, hooked, on_layer

_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
_SOFT_CAP = "final_logit_softcapping"


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of a decoder-only language model.

    Layer 0 is the input of the first block; layer l >= 1 is the output of block l, before the final norm.

    Attributes:
        decoder: takes token ids, runs the blocks and the final norm; has no unembedding.
        blocks: the decoder blocks, in order.
        norms: what the decoder applies after its last block, in order (one final norm in nearly every model).
        head: the unembedding.
        scale: factor on its output.
        soft_cap: bound of the tanh on the scaled output; None is no bound.
        needs_mask: right padding reaches earlier positions unless an attention mask is given.
        tuples: a block returns its states in a tuple.
        device: where token ids go in.
        d_model: width of the residual stream.
        vocabulary: rows of the embedding.
    """

    decoder: nn.Module
    blocks: tuple[nn.Module, ...]
    norms: tuple[nn.Module, ...]
    head: nn.Module
    scale: float
    soft_cap: float | None
    needs_mask: bool
    tuples: bool
    device: torch.device
    d_model: int
    vocabulary: int

    @property
    def n_layers(self) -> int:
        """Number of blocks; layers are 0 … n_layers."""
        return len(self.blocks)

    def final_norm(self, states: Tensor) -> Tensor:
        """The last layer's states `[..., d]` as the unembedding takes them."""
        for norm in self.norms:
            states = norm(states)
        return states

    def unembed(self, normed: Tensor) -> Tensor:
        """Logits `[..., vocabulary]` of states after the final norm, with the model's own scale and soft cap."""
        logits = self.head(normed)
        if self.scale != 1:
            logits = logits * self.scale
        if self.soft_cap is not None:
            logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
        return logits


def dissect(net: Any, probe: Sequence[int], name: str) -> Anatomy:
    """Find a model's parts and check them on a short text.

    Args:
        net: a transformers causal language model, in eval mode.
        probe: token ids of a short text.
        name: the model's name, for messages.

    Raises:
        ModelError: a part cannot be found, or what was found does not reproduce the model's own states and logits.
    """
    config = net.config.get_text_config()
    decoder, blocks = _find_blocks(net, int(config.num_hidden_layers), name)
    head = net.get_output_embeddings()
    embedding = net.get_input_embeddings()
    if head is None or embedding is None:
        raise ModelError(
            f"{name} has no unembedding that unmask can find; a causal language model was expected."
        )
    vocabulary = int(embedding.weight.shape[0])
    if max(probe) >= vocabulary:
        raise ModelError(
            f"The tokenizer of {name} gives id {max(probe)}, but the model embeds {vocabulary} tokens; "
            "tokenizer and weights are not of the same model."
        )
    ids = torch.tensor([list(probe)], device=next(net.parameters()).device)
    seen = _observe(net, decoder, blocks, ids)
    anatomy = Anatomy(
        decoder=decoder,
        blocks=blocks,
        norms=seen.norms,
        head=head,
        scale=1.0,
        soft_cap=None,
        needs_mask=False,
        tuples=seen.tuples,
        device=ids.device,
        d_model=int(seen.states[0].shape[-1]),
        vocabulary=vocabulary,
    )
    _check_states(anatomy, seen, name)
    anatomy = _with_head(anatomy, config, seen, name)
    return replace(anatomy, needs_mask=_needs_mask(anatomy, ids, name))


def _find_blocks(net: Any, count: int, name: str) -> tuple[nn.Module, tuple[nn.Module, ...]]:
    """The list of `count` modules with the most parameters, and the module that holds it."""
    root = net.get_decoder() if hasattr(net, "get_decoder") else net
    held = [
        (sum(p.numel() for p in child.parameters()), owner, child)
        for owner in root.modules()
        for child in owner.children()
        if isinstance(child, nn.ModuleList) and len(child) == count
    ]
    if not held:
        raise ModelError(
            f"{name} ({type(net).__name__}) has no list of {count} decoder blocks that unmask can find; "
            "a decoder-only transformer was expected."
        )
    _, owner, blocks = max(held, key=lambda item: item[0])
    return owner, tuple(blocks)


@dataclass(frozen=True, eq=False)
class _Seen:
    """One forward pass: hooked states by layer, what ran after the last block, and the model's own account."""

    states: tuple[Tensor, ...]
    norms: tuple[nn.Module, ...]
    hidden: tuple[Tensor, ...]
    logits: Tensor
    tuples: bool


@torch.inference_mode()
def _observe(net: Any, decoder: nn.Module, blocks: tuple[nn.Module, ...], ids: Tensor) -> _Seen:
    states: dict[int, Tensor] = {}
    norms: list[nn.Module] = []
    returned: list[type] = []

    def after_blocks(module: nn.Module, _: Any, output: Any) -> None:
        if len(blocks) in states and isinstance(output, Tensor):
            norms.append(module)

    def keep(layer: int, state: Tensor) -> None:
        states[layer] = state

    def look_at(_: nn.Module, __: Any, output: Any) -> None:
        returned.append(type(output))

    handles = [
        on_layer(blocks, layer, lambda h, layer=layer: keep(layer, h)) for layer in range(len(blocks) + 1)
    ]
    others = [child for child in decoder.children() if not isinstance(child, nn.ModuleList)]
    handles += [child.register_forward_hook(after_blocks) for child in others]
    handles.append(blocks[-1].register_forward_hook(look_at))
    with hooked(handles):
        out = net(input_ids=ids, use_cache=False, output_hidden_states=True)
    ordered = tuple(states[layer] for layer in sorted(states))
    return _Seen(
        ordered,
        tuple(norms),
        tuple(map(first_tensor, out.hidden_states or ())),
        out.logits,
        issubclass(returned[0], tuple),
    )


def _check_states(anatomy: Anatomy, seen: _Seen, name: str) -> None:
    """Hooked states must be the model's own hidden states; the last of these may be given after the final norm."""
    if not len(seen.states) == len(seen.hidden) == anatomy.n_layers + 1:
        raise ModelError(
            f"{name} gave {len(seen.hidden)} hidden states and {len(seen.states)} hooked ones for "
            f"{anatomy.n_layers} blocks; {anatomy.n_layers + 1} of each were expected, so unmask cannot read it."
        )
    last = [seen.states[-1]]
    with torch.inference_mode():
        for norm in anatomy.norms:
            last.append(norm(last[-1]))
    for layer, (hooked_state, hidden) in enumerate(zip(seen.states, seen.hidden, strict=True)):
        if not torch.isfinite(hooked_state).all():
            raise ModelError(
                f"{name} has activations that are not finite at layer {layer} on a plain sentence; "
                "its weights are damaged, or its dtype is too narrow: try float32."
            )
        candidates = last if layer == anatomy.n_layers else [hooked_state]
        if min(row_error(candidate, hidden) for candidate in candidates) > tolerance(hidden):
            raise ModelError(
                f"The hooked states of {name} at layer {layer} are not its own hidden states; "
                "unmask does not understand this architecture and would read the wrong thing."
            )


def _with_head(anatomy: Anatomy, config: Any, seen: _Seen, name: str) -> Anatomy:
    """The anatomy with the scale and soft cap from the config that reproduce the model's logits."""
    with torch.inference_mode():
        normed = anatomy.final_norm(seen.states[-1])
        for scale, soft_cap in _head_candidates(config):
            candidate = replace(anatomy, scale=scale, soft_cap=soft_cap)
            if row_error(candidate.unembed(normed), seen.logits) <= tolerance(seen.logits):
                return candidate
    raise ModelError(
        f"Final norm and unembedding of {name} do not give its own logits; "
        "its head does something that unmask does not know, so its scores would be wrong."
    )


def _head_candidates(config: Any) -> Iterator[tuple[float, float | None]]:
    """Scales and soft caps that the config speaks of, the fullest account first: some divide where others multiply."""
    cap = getattr(config, _SOFT_CAP, None)
    factors = [float(getattr(config, key)) for key in _SCALES if getattr(config, key, None)]
    for soft_cap in dict.fromkeys((float(cap) if cap else None, None)):
        for factor in factors:
            yield factor, soft_cap
            yield 1 / factor, soft_cap
        yield 1.0, soft_cap


@torch.inference_mode()
def _needs_mask(anatomy: Anatomy, ids: Tensor, name: str) -> bool:
    """Whether tokens on the right change states on their left unless they are masked.

    Rows of one length are compared: in a chaotic model another length's rounding alone moves the states far. One is
    followed by its own tokens turned round, the other by padding, so that their means differ as well.
    """
    length = ids.shape[1]
    mask = (torch.arange(2 * length, device=ids.device) < length).long()[None]
    for needs_mask in (False, True):
        extra = {"attention_mask": mask} if needs_mask else {}
        one, other = (
            _last_layer(anatomy, torch.cat([ids, tail], dim=1), extra)[:, :length]
            for tail in (ids.flip(1), ids[:, -1:].expand_as(ids))
        )
        if row_error(one, other, worst=False) <= 10 * tolerance(other):
            return needs_mask
    raise ModelError(
        f"In {name} later tokens change the states of earlier ones even when they are masked; "
        "a causal language model was expected."
    )


def _last_layer(anatomy: Anatomy, ids: Tensor, extra: dict[str, Tensor]) -> Tensor:
    kept: list[Tensor] = []
    with hooked([on_layer(anatomy.blocks, anatomy.n_layers, kept.append)]):
        anatomy.decoder(input_ids=ids, use_cache=False, **extra)
    return kept[0]


def row_error(found: Tensor, expected: Tensor, worst: bool = True) -> float:
    """Largest distance of a row relative to its norm; the median where a mixture of experts may route one otherwise."""
    if found.shape != expected.shape:
        return math.inf
    found, expected = found.float(), expected.float()
    error = (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-12)
    return float(error.max() if worst else error.median())


def tolerance(like: Tensor) -> float:
    """How far two ways to the same states may lie apart, as a share of a row's norm."""
    return 1e-4 if like.dtype == torch.float32 else 1e-2
