"""Floors and plain transformers, in unmask's own environment; nothing here uses unmask's engine.

`python -m benchmarks.plain score-floor|generate --model DIR --input FILE` prints one JSON line, as the peers do.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from benchmarks.material import distinct_prefixes, read_lines, read_rows, row_ids

BATCH = 32
POSITIONS_AT_ONCE = 256


def load(model: str, dtype: str) -> tuple[Any, Any]:
    """A tokenizer and a network from a transformers folder."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer, AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()


def well_shaped(ids: Sequence[int], count: int, width: int) -> list[torch.Tensor]:
    """Exactly `count` tokens as batches of equally long rows, the rest as one shorter row; `ids` fill them."""
    flat = torch.tensor((list(ids) * (count // len(ids) + 1))[:count])
    whole = count // width * width
    batches = list(flat[:whole].reshape(-1, width).split(BATCH))
    return batches if whole == count else [*batches, flat[None, whole:]]


def score_floor(model: str, dtype: str, path: Path) -> tuple[str, Callable[[], int]]:
    """The bare decoder over as many tokens as there are distinct prefixes, then log-probs where they are wanted.

    A continuation's last token is predicted and needs no forward pass itself. A position that two continuations
    share is unembedded once.
    """
    tokenizer, net = load(model, dtype)
    rows = [row_ids(tokenizer, row) for row in read_rows(path)]
    needed = distinct_prefixes([ids[:-1] for ids, _ in rows])
    scored = len({ids[:end] for ids, start in rows for end in range(start, len(ids))})
    flat = [token for ids, _ in rows for token in ids]
    batches = well_shaped(flat, needed, round(len(flat) / len(rows)))
    targets = torch.tensor(flat[:scored])

    @torch.inference_mode()
    def run() -> int:
        states = torch.cat([net.model(ids, use_cache=False)[0].flatten(0, 1) for ids in batches])[:scored]
        for part, wanted in zip(
            states.split(POSITIONS_AT_ONCE), targets.split(POSITIONS_AT_ONCE), strict=True
        ):
            net.lm_head(part).float().log_softmax(-1).gather(1, wanted[:, None]).sum().item()
        return len(rows)

    return "requests", run


def generate(
    model: str, dtype: str, path: Path, samples: int, new_tokens: int
) -> tuple[str, Callable[[], int]]:
    """`generate` over the prompts as given, each so many times, in batches of 32 padded on the left."""
    tokenizer, net = load(model, dtype)
    tokenizer.padding_side = "left"
    prompts = [prompt for prompt in read_lines(path) for _ in range(samples)]
    end = tokenizer.eos_token_id
    net.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end)

    @torch.inference_mode()
    def run() -> int:
        torch.manual_seed(0)
        made = 0
        for first in range(0, len(prompts), BATCH):
            inputs = tokenizer(prompts[first : first + BATCH], return_tensors="pt", padding=True)
            out = net.generate(
                **inputs, max_new_tokens=new_tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0
            )
            new = out[:, inputs["input_ids"].shape[1] :].tolist()
            made += sum(row.index(end) if end in row else len(row) for row in new)
        return made

    return "tokens", run


def report(peer: str, work: str, unit: str, done: int, seconds: Sequence[float], **more: float) -> None:
    """Print the JSON line; `done` is the amount of work in one repeat, `more` what else it says."""
    # Linux counts ru_maxrss in KiB, macOS in bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (
        2**20 if sys.platform == "darwin" else 2**10
    )
    line = {"peer": peer, "work": work, unit: done, "seconds": [round(took, 3) for took in seconds]}
    print(json.dumps({**line, "per_second": round(done / median(seconds), 2), "peak_mib": peak, **more}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["score-floor", "generate"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.work == "generate":
        unit, run = generate(args.model, args.dtype, args.input, args.samples, args.new_tokens)
    else:
        unit, run = score_floor(args.model, args.dtype, args.input)
    run()
    done, seconds = 0, list[float]()
    for _ in range(args.repeats):
        begun = time.perf_counter()
        done = run()
        seconds.append(time.perf_counter() - begun)
    report("plain", args.work, unit, done, seconds)


if __name__ == "__main__":
    main()
