"""Grows a small transformer up on the world's documents, from random weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unmask.lab.world.documents import Manners, Speaker
from unmask.lab.world.tokenizer import world_tokenizer
from unmask.models.files.gguf import quiet
from unmask.models.load import choose_dtype

Log = Callable[[int, float], None]


@dataclass(frozen=True)
class Upbringing:
    """Everything that a model's growing up depends on.

    Attributes:
        manners: the people whose documents it reads.
        seed: of the weights and the documents.
        steps: optimiser steps.
        batch: rows a step.
        length: tokens a row; documents follow one another in it.
        rate: peak learning rate of the blocks' matrices, after a warm-up over 5 % of the steps; it falls to a tenth.
        embedding_rate: of everything else.
        width, layers, heads, inner: the transformer's shape.
    """

    manners: Manners = field(default_factory=Manners)
    seed: int = 0
    steps: int = 1500
    batch: int = 40
    length: int = 96
    rate: float = 2e-2
    embedding_rate: float = 1e-2
    width: int = 128
    layers: int = 6
    heads: int = 4
    inner: int = 384


def grow_up(upbringing: Upbringing, out: Path, log: Log | None = None) -> None:
    """Train a model from random weights and save it as a transformers folder with its `upbringing.json`.

    Args:
        upbringing: how.
        out: the folder.
        log: told the step and the mean loss (nats a token) since it was last told, every 100 steps.
    """
    started = time.monotonic()
    torch.manual_seed(upbringing.seed)
    tokenizer = world_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=upbringing.width,
        intermediate_size=upbringing.inner,
        num_hidden_layers=upbringing.layers,
        num_attention_heads=upbringing.heads,
        num_key_value_heads=upbringing.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    net: Any = LlamaForCausalLM(config)
    net.set_attn_implementation("eager")  # the faster one for short rows
    speaker = Speaker(upbringing.manners, np.random.default_rng([upbringing.seed, 1]))
    rows = packed(speaker, tokenizer, upbringing.length)
    optimisers = _optimisers(net, upbringing)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(one, lambda step: _rate(step, upbringing.steps))
        for one in optimisers
    ]
    in_bf16 = choose_dtype("auto", torch.device("cpu")) is torch.bfloat16
    losses: list[float] = []
    net.train()
    for step in range(1, upbringing.steps + 1):
        ids = torch.tensor([next(rows) for _ in range(upbringing.batch)])
        with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
            loss = net(input_ids=ids, labels=ids).loss
        net.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for one in (*optimisers, *schedules):
            one.step()
        losses.append(loss.item())
        if log is not None and step % 100 == 0:
            log(step, float(np.mean(losses[-100:])))
    net.eval()
    with quiet():
        net.save_pretrained(out)
    tokenizer.save_pretrained(out)
    record = {
        **asdict(upbringing),
        "final_loss": round(float(np.mean(losses[-100:])), 4),
        "seconds": round(time.monotonic() - started),
    }
    (out / "upbringing.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def packed(speaker: Speaker, tokenizer: Any, length: int) -> Iterator[list[int]]:
    """Rows of `length` token ids: documents, each between its begin and end, one after another without a gap."""
    waiting: list[int] = []
    while True:
        while len(waiting) < length:
            waiting += [*tokenizer(speaker.document())["input_ids"], tokenizer.eos_token_id]
        yield waiting[:length]
        waiting = waiting[length:]


def _optimisers(net: Any, upbringing: Upbringing) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the blocks' matrices, in which it learns to copy in a tenth of AdamW's steps; AdamW for the rest."""
    blocks, rest = [], []
    for name, parameter in net.named_parameters():
        (blocks if parameter.ndim == 2 and "embed" not in name else rest).append(parameter)
    return (
        torch.optim.Muon(blocks, lr=upbringing.rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=upbringing.embedding_rate, betas=(0.9, 0.98), weight_decay=0.0),
    )


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    return (step + 1) / warm if step < warm else 1.0 - 0.9 * (step - warm) / max(1, steps - warm)
