"""unmask's side of training, and both sides of sparse against dense codes.

`python -m benchmarks.dictionaries train|sparse|dense|memory …` prints one JSON line, as the peers do. `train` trains on
the batches that peers/sae.py draws, with the same width, k and rate, held constant. What else differs is unmask's own
recipe: inputs are scaled to a length of √d, the bias begins at their mean, and latents that are silent for a tenth of
the tokens are revived, which costs time; `--bare` leaves all three out, as in the peers' programs. `memory` makes a
dictionary as `unmask features train` does.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import torch
from torch import Tensor

from benchmarks.material import HELD_OUT
from benchmarks.ours import peak_mib, set_peak_back
from benchmarks.plain import report
from unmask.features.autoencoder import SparseAutoencoder, TopK
from unmask.features.making import Order, make_dictionary
from unmask.features.training.finishing import finished_autoencoder
from unmask.features.training.recipe import Recipe
from unmask.features.training.trainer import Trainer
from unmask.models import load_model

CODED = 4096
"""Tokens that are encoded and decoded at once."""


def train(args: argparse.Namespace) -> None:
    """Train on the batches that the peers train on, and print the share of held-out variance that is left."""
    data = torch.from_numpy(np.load(args.activations))
    held_out, activations = data[:HELD_OUT], data[HELD_OUT:]
    recipe = Recipe(
        args.width,
        args.k,
        tokens=args.tokens,
        batch=args.batch,
        rate=args.lr,
        warm_up=0,
        decay=0,
        aux=0.0 if args.bare else 1 / 32,
    )
    order = torch.Generator().manual_seed(0)
    begun = time.perf_counter()
    trainer = Trainer.begin(recipe, activations[: args.batch, None])
    if args.bare:
        trainer.variance *= float(trainer.scale) ** 2
        trainer.scale = torch.ones(1)
        trainer.coder.bias.zero_()
    for _ in range(recipe.steps):
        trainer.train(activations[torch.randint(len(activations), (args.batch,), generator=order)][:, None])
    seconds = time.perf_counter() - begun
    sae = finished_autoencoder(trainer, held_out[:, None], {})
    left = (sae.reconstruct(held_out) - held_out).pow(2).sum()
    fvu = float(left / (held_out - held_out.mean(0)).pow(2).sum())
    report("unmask", "sae", "tokens", args.tokens, [seconds], fvu=round(fvu, 4))


def code(args: argparse.Namespace) -> None:
    """Decode, or encode and decode, tokens with random weights: entry by entry, or by dense products."""
    draws = torch.Generator().manual_seed(0)
    dtype = getattr(torch, args.dtype)
    rows = torch.randn(args.width, args.d, generator=draws)
    rows /= rows.norm(dim=1, keepdim=True)
    sae = SparseAutoencoder(
        rows, torch.zeros(args.width), rows.clone(), torch.zeros(args.d), TopK(args.k)
    ).to(dtype)
    x = torch.randn(CODED, args.d, generator=draws).to(dtype)
    codes = sae.encode(x)
    dense = codes.dense()

    def encode_densely() -> Tensor:
        pre = sae.pre(x)
        values, columns = pre.topk(args.k, dim=1, sorted=False)
        return torch.zeros_like(pre).scatter_(1, columns, values.relu())

    runs: dict[tuple[str, str], Callable[[], Tensor]] = {
        ("sparse", "decode"): lambda: sae.decode(codes),
        ("dense", "decode"): lambda: torch.addmm(sae.bias, dense, sae.decoder),
        ("sparse", "both"): lambda: sae.decode(sae.encode(x)),
        ("dense", "both"): lambda: torch.addmm(sae.bias, encode_densely(), sae.decoder),
    }
    run = runs[args.work, args.what]
    assert torch.allclose(run().float(), runs["dense", "decode"]().float(), atol=0.1)
    seconds: list[float] = []
    for _ in range(args.repeats):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    report(args.work, args.what, "tokens", CODED, seconds)


def memory(args: argparse.Namespace) -> None:
    """Make a dictionary of two demo models, and print by how much the resident set outgrew that with both loaded."""
    models = [load_model(name, "cpu") for name in ("demo:base", "demo:masked")]
    recipe = Recipe(args.width, args.k, tokens=args.tokens, batch=args.batch, rate=args.lr)
    order = Order(args.layer, "demo:conversations", recipe, stored="bfloat16")
    give_freed_back()
    loaded = psutil.Process().memory_info().rss // 2**20
    set_peak_back()
    begun = time.perf_counter()
    with TemporaryDirectory() as folder:
        made = make_dictionary(models, order, Path(folder))
    line = {
        "work": "memory",
        "tokens": made.facts["trained_on"]["tokens"],
        "distinct": made.facts["trained_on"]["distinct"],
        "seconds": round(time.perf_counter() - begun),
        "loaded_mib": loaded,
        "beside_mib": peak_mib() - loaded,
    }
    print(json.dumps(line))


def give_freed_back() -> None:
    """Let the system have what loading freed, or the resident set would hide what takes its place (glibc only)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["train", "sparse", "dense", "memory"])
    parser.add_argument("--activations", type=Path, help=".npy, float32 [tokens, d]")
    parser.add_argument("--layer", type=int, default=15, help="memory: whose states")
    parser.add_argument("--what", choices=["decode", "both"], default="decode")
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--d", type=int, default=576)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--bare", action="store_true", help="raw inputs, no first bias, no revival")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.manual_seed(0)
    {"train": train, "memory": memory}.get(args.work, code)(args)


if __name__ == "__main__":
    main()
