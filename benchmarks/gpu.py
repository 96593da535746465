"""For a machine with a GPU: two models of Llama-3.1-8B shape with random weights, audited and read.

`python -m benchmarks.gpu` prints a table. It needs 32 GB of disk for the weights, which go to a temporary folder, and
a GPU that holds one model. `--tiny` does the same at a toy size on any machine, with one measurement, to see that it
runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from benchmarks import material, report
from benchmarks.machine import gpu
from benchmarks.ours import Ours, read_requests, timed
from benchmarks.results import Limit, Outcome
from unmask import Pair, Settings, audit
from unmask.models.demo import demo_folder
from unmask.runner.records import Records
from unmask.runner.requests import Request

PEAKS = {"H100 PCIe": 756, "H100": 989, "H200": 989, "A100": 312}
"""Dense bf16 TFLOP/s from the makers' data sheets, by words in the card's name, the longer ones first."""
MINUTES_BAR = 10.0
SHARE_BAR = 0.45


@dataclass(frozen=True)
class Scale:
    """The models' shape and the sizes of the work.

    Attributes:
        shape: of a LlamaConfig; the vocabulary at least as large as the tokenizer's.
        texts: how many are read, by how many statements each has.
        profile: of the audit.
        measurements: of the audit; None for all.
    """

    shape: dict[str, int]
    texts: dict[int, int]
    profile: str
    measurements: tuple[str, ...] | None = None


LLAMA_8B = Scale(
    {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
    },
    {2: 4096, 10: 2048},
    "standard",
)
TINY = Scale(
    {
        "vocab_size": 49_152,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    },
    {2: 24},
    "quick",
    ("variance",),
)


def build(folder: Path, scale: Scale, tokenizer: Any, seed: int, device: str) -> Path:
    """Save a model with random bf16 weights, and the tokenizer, as a transformers folder."""
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(**scale.shape, **ends, tie_word_embeddings=False)
    assert config.vocab_size >= len(tokenizer)
    torch.manual_seed(seed)
    with torch.device(device):
        net = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def peak_of(card: str) -> float | None:
    """The card's dense bf16 TFLOP/s, where it is known."""
    return next((float(peak) for words, peak in PEAKS.items() if words in card), None)


def body_parameters(net: Any) -> int:
    """Parameters of the blocks: each token takes two FLOPs of each."""
    return sum(parameter.numel() for name, parameter in net.named_parameters() if ".layers." in name)


def read(model: Path, scale: Scale, device: str, peak: float | None, rounds: int) -> Outcome:
    """Every layer at the last token, as a share of the card's bf16 peak.

    FLOPs are twice the blocks' parameters for each distinct prefix; those of attention's products are not counted.
    """
    ours = Ours(str(model), "bfloat16", device)
    limits: list[Limit] = []
    for statements_each, count in scale.texts.items():
        texts = material.long_texts(count, statements_each)

        def make(texts: Sequence[str] = texts) -> list[Request]:
            return read_requests(texts)

        def take(records: Records, requests: Sequence[Request]) -> int:
            records.stack(requests)
            return len(requests)

        work = ("requests", make, take)
        timed(ours, work)
        seconds = median(timed(ours, work)[0] for _ in range(rounds))
        tokens = material.distinct_prefixes(ours.model.tokenizer(texts).input_ids)
        per_second = 2 * body_parameters(ours.model.net) * tokens / seconds / 1e12
        what = f"read: {count:,} texts, {tokens:,} tokens"
        detail = f"{tokens / seconds:,.0f} tokens/s, {per_second:.3g} TFLOP/s"
        if peak is None:
            limits.append(Limit(what, per_second, "TFLOP/s", detail=f"{tokens / seconds:,.0f} tokens/s"))
        else:
            limits.append(
                Limit(what, per_second / peak, f"of {peak:g} TFLOP/s", SHARE_BAR, least=True, detail=detail)
            )
    return Outcome("read", limits=tuple(limits))


def audited(base: Path, aligned: Path, scale: Scale, device: str, folder: Path) -> Outcome:
    """The audit of the pair, from its call to its end, weights on disk."""
    begun = time.monotonic()
    run = audit(
        Pair(str(base), str(aligned)),
        folder,
        Settings(profile=scale.profile, measurements=scale.measurements, dtype="bfloat16", device=device),
        fresh=True,
    )
    minutes = (time.monotonic() - begun) / 60
    seconds = run.facts["timings"]["seconds"]
    detail = ", ".join(f"{name} {value:.0f} s" for name, value in sorted(seconds.items()))
    bar = None if scale.measurements else MINUTES_BAR
    limit = Limit(f"audit: --profile {scale.profile}", minutes, "minutes", bar, detail=detail)
    return Outcome("audit", limits=(limit,), failed="a measurement failed" if run.failed else "")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--only", choices=["read", "audit"])
    parser.add_argument("--tiny", action="store_true", help="toy models, on any machine")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="the card's dense bf16 peak")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of the read")
    parser.add_argument("--folder", type=Path, help="where the weights go for the time being")
    parser.add_argument("--tokenizer", type=Path, help="a folder with one; default the demo models'")
    args = parser.parse_args(words)
    if not (args.tiny or torch.cuda.is_available()):
        print("There is no GPU on this machine; --tiny tries the program without one.", file=sys.stderr)
        return 2
    scale = TINY if args.tiny else LLAMA_8B
    card = gpu()
    peak = args.peak or peak_of(card)
    tokenizer = AutoTokenizer.from_pretrained(args.tokenizer or demo_folder())
    maker = "cuda" if torch.cuda.is_available() else "cpu"
    outcomes: list[Outcome] = []
    with TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        base = build(folder / "base", scale, tokenizer, 0, maker)
        if args.only != "read":
            aligned = build(folder / "aligned", scale, tokenizer, 1, maker)
            outcomes.append(audited(base, aligned, scale, args.device, folder / "run"))
        if args.only != "audit":
            outcomes.append(read(base, scale, args.device, peak, args.repeats))
    print(f"{card}\n\n{report.tables(outcomes)}\n\n{report.verdict(outcomes)}")
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
