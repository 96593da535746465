"""Changing weight matrices in place: all edits of a linear map are of the form I − LR on what it writes or reads.

Sums are taken in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Floats = npt.NDArray[np.float64]
LINEAR = (nn.Linear, Conv1D)
"""Modules that multiply by a matrix: the second keeps it transposed."""


@dataclass(frozen=True, eq=False)
class Less:
    """The map x → x − left (right x).

    Attributes:
        left: `[d, k]`.
        right: `[k, d]`.
    """

    left: Floats
    right: Floats

    @property
    def rank(self) -> int:
        """How many dimensions it touches."""
        return self.left.shape[1]

    def __call__(self, x: Floats) -> Floats:
        """`[..., d] -> [..., d]`."""
        return x - (x @ self.right.T) @ self.left.T


def weight_of(module: nn.Module) -> nn.Parameter:
    """A module's weight matrix or gain."""
    return cast(nn.Parameter, module.weight)


def bias_of(module: nn.Module) -> nn.Parameter | None:
    """A module's bias; None where it has none."""
    return cast("nn.Parameter | None", getattr(module, "bias", None))


def as_array(tensor: Tensor) -> Floats:
    """A tensor in float64."""
    return tensor.detach().double().cpu().numpy()


def put(parameter: Tensor, values: Floats) -> None:
    """Overwrite a parameter."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _writes_in_rows(module: nn.Module) -> bool:
    """Whether what is written lies along the weight's last axis (`[in, d]`)."""
    return isinstance(module, (Conv1D, nn.Embedding))


def change_written(module: nn.Module, less: Less, kept: Floats | None = None) -> None:
    """Put the map behind a module's output.

    Args:
        module: embedding, `Linear` or `Conv1D` with d outputs.
        less: over the outputs.
        kept: `[d]`, an output that shall stay where it is; a bias is needed for that, without one 0 stays.
    """
    weight = as_array(weight_of(module))
    rows = weight if _writes_in_rows(module) else weight.T
    changed = less(rows)
    put(weight_of(module), changed if _writes_in_rows(module) else changed.T)
    bias = bias_of(module)
    if bias is not None:
        stays = np.zeros(len(bias)) if kept is None else kept
        put(bias, less(as_array(bias) - stays) + stays)


def change_read(module: nn.Module, less: Less) -> None:
    """Put the map before a module's input; its bias stays."""
    weight = as_array(weight_of(module))
    matrix = weight.T if isinstance(module, Conv1D) else weight
    changed = matrix - (matrix @ less.left) @ less.right
    put(weight_of(module), changed.T if isinstance(module, Conv1D) else changed)


def scale_read(module: nn.Module, gain: Floats) -> None:
    """Multiply a module's inputs `[d]`; its bias stays."""
    weight = as_array(weight_of(module))
    put(weight_of(module), weight * (gain[:, None] if isinstance(module, Conv1D) else gain))


def scale_all(module: nn.Module, factor: float) -> None:
    """Multiply weight and bias."""
    for parameter in (weight_of(module), bias_of(module)):
        if parameter is not None:
            put(parameter, as_array(parameter) * factor)


def untie(net: Any, head: nn.Module) -> None:
    """Give the unembedding weights of its own, in memory and in the config that is saved."""
    weight = weight_of(head)
    head.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    for config in {id(c): c for c in (net.config, net.config.get_text_config())}.values():
        config.tie_word_embeddings = False
    if isinstance(getattr(net, "all_tied_weights_keys", None), Mapping):
        net.all_tied_weights_keys = {}
