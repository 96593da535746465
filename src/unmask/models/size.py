"""How large a model is, from its config alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unmask.models.errors import ModelError
from unmask.models.references import Resolved

LOGITS_AT_ONCE = 2**24
"""That are held while tokens are scored."""


@dataclass(frozen=True)
class ModelSize:
    """What a model weighs.

    Attributes:
        layers: decoder blocks.
        width: of the residual stream.
        parameters: all of them, tied ones once.
        multiplied: those that every token is multiplied with: all but an embedding that is only looked up in. Of a
            mixture of experts all experts are counted, which is more than a token meets.
        spoken: those of the unembedding among them.
        keys: numbers in the keys and values of one token, over all layers.
        inner: width inside of a block's MLP; of several the widest.
        number: bytes of a number in the dtype that it runs in.
    """

    layers: int
    width: int
    parameters: int
    multiplied: int
    spoken: int = 0
    keys: int = 0
    inner: int = 0
    number: int = 4

    @property
    def unembedding(self) -> float:
        """What the unembedding of one token costs, in token-forwards through the blocks."""
        return self.spoken / max(1, self.multiplied - self.spoken)

    @property
    def activations(self) -> int:
        """Numbers that are held at once for a token in a pass: its states on the way, and inside of a block."""
        return 4 * self.width + 3 * self.inner

    @property
    def vocabulary(self) -> int:
        """Logits of one token."""
        return self.spoken // self.width


def model_size(found: Resolved, dtype: str = "float32", trust_remote_code: bool = False) -> ModelSize:
    """Build the model without its weights and count.

    Args:
        found: the model.
        dtype: what it will run in, as torch names it.
        trust_remote_code: run model code that comes with it.

    Raises:
        ModelError: the config is of no causal language model that this version of transformers can build.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(found.folder, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            net = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # transformers raises many kinds here
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ModelError(
            f"The config of {found.name} in {found.folder} builds no causal language model "
            f"({type(error).__name__}: {first})."
        ) from error
    parameters = sum(weights.numel() for weights in net.parameters())
    text = config.get_text_config()
    inner = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
    looked_up, spoken = net.get_input_embeddings(), net.get_output_embeddings()
    tied = spoken is None or spoken.weight is looked_up.weight
    return ModelSize(
        int(text.num_hidden_layers),
        int(text.hidden_size),
        parameters,
        parameters - (0 if tied else looked_up.weight.numel()),
        0 if spoken is None else spoken.weight.numel(),
        _keys(text),
        max(inner) if isinstance(inner, list | tuple) else int(inner),
        getattr(torch, dtype).itemsize,
    )


def _keys(config: Any) -> int:
    """Numbers that keys and values of one token take over all layers."""
    heads = int(getattr(config, "num_attention_heads", None) or 0)
    if not heads:  # no attention, no cache of it
        return 0
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    return 2 * int(config.num_hidden_layers) * int(shared) * int(width)
