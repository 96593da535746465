"""Tiny random models of many architectures with a tokenizer of their own, as local folders; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = (
    "The committee met on Tuesday, and it talked about the weather.",
    "Taxes should be lower, say some; others say that they should be higher.",
    "User: What do you think about the new law?\nAssistant: I think that it depends.",
    "A quick brown fox jumps over the lazy dog while 12 ducks watch from the river bank.",
    "You are a helpful assistant. Answer the question in one short sentence.",
)
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe helpful.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 384
_WIDE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
_SLIDING = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {}),
    "gemma2": ("Gemma2Config", {**_SLIDING, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3TextConfig", {**_SLIDING, "query_pre_attn_scalar": 8}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": 6}),
    "phi3": ("Phi3Config", {}),
    "olmo2": ("Olmo2Config", {}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "olmoe": ("OlmoeConfig", _EXPERTS),
    "qwen3_moe": ("Qwen3MoeConfig", {**_EXPERTS, "moe_intermediate_size": 16}),
    "gpt_oss": (
        "GptOssConfig",
        {**_SLIDING, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),  # attention sinks
    "granite": ("GraniteConfig", {"logits_scaling": 4.0, "embedding_multiplier": 3.0}),
    "cohere2": ("Cohere2Config", {**_SLIDING, "logit_scale": 0.25}),
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 16}),
    "bloom": ("BloomConfig", {"n_layer": 3, "n_head": 4}),
    "falcon": ("FalconConfig", {"head_dim": None}),
}
ARCHITECTURES = tuple(CONFIGS)


@cache
def _backend(extra: tuple[str, ...] = ()) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|bos|>", "<|im_start|>", "<|im_end|>", *extra]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer.to_str()


def tiny_tokenizer(chat: bool = True, extra: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML tokens; `extra` special tokens shift the ids of the others."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_backend(tuple(extra))),
        bos_token="<|bos|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", *extra],
    )
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    return tokenizer


def tiny_net(kind: str, seed: int = 0, **changes: Any) -> Any:
    """A random causal language model in fp32, with weights large enough that its outputs differ by token."""
    name, own = CONFIGS[kind]
    config_type = getattr(transformers, name)
    torch.manual_seed(seed)
    chosen = {**_WIDE, **own, **changes}
    config = config_type(**{key: value for key, value in chosen.items() if value is not None})
    net = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():  # norms at exactly 1 would hide a wrong norm
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return net


def save_tiny(kind: str, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Save a tiny model and its tokenizer as a transformers folder."""
    tiny_net(kind, seed, **changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest distance of a row `[..., d]` from the expected one, as a share of the expected row's norm."""
    return float((np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)).max())
