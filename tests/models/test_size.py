"""What a model weighs, from its config alone, beside the model itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from models.tiny import ARCHITECTURES, save_tiny, tiny_net, tiny_tokenizer
from unmask.models import resolve
from unmask.models.size import model_size


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_it_counts_what_the_model_holds(kind: str, tmp_path: Path) -> None:
    size, net = model_size(resolve(str(save_tiny(kind, tmp_path)))), tiny_net(kind)
    assert size.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert (size.layers, size.width) == (3, 32)
    head, embedding = net.get_output_embeddings().weight, net.get_input_embeddings().weight
    assert size.spoken == head.numel()
    assert size.parameters - size.multiplied == (0 if head is embedding else embedding.numel())


@pytest.mark.parametrize(("kind", "key_heads"), [("llama", 2), ("gemma3", 1), ("gpt2", None), ("opt", None)])
def test_keys_are_what_a_cache_holds(kind: str, key_heads: int | None, tmp_path: Path) -> None:
    size = model_size(resolve(str(save_tiny(kind, tmp_path, num_key_value_heads=key_heads))))
    net = tiny_net(kind, num_key_value_heads=key_heads)
    cache = net(torch.tensor([[5, 6, 7]]), use_cache=True).past_key_values
    assert 3 * size.keys == sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)


def test_a_model_without_attention_has_a_size_too(tmp_path: Path) -> None:
    config = transformers.MambaConfig(vocab_size=384, hidden_size=32, num_hidden_layers=2, state_size=4)
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert model_size(resolve(str(tmp_path))).keys == 0
