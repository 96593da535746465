"""Whether unmask's answers are those of the plain forward pass: one text at a time, no batch, no cache, float32.

`python -m benchmarks.check --model DIR --texts FILE --grid FILE --prompts FILE` prints one JSON line with the
largest difference of each kind.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks import ours as engine
from benchmarks.material import read_lines, read_rows, row_ids, same_either_way
from benchmarks.plain import load
from unmask.runner.requests import Request

ROWS = 16
STEERED = 4


def answers(ours: engine.Ours, requests: Sequence[Request]) -> Any:
    """All of them in one round, as in the contest, so that batches and shared prefixes are those of the contest."""
    with TemporaryDirectory() as folder:
        records = ours.runner(Path(folder)).answer(requests)
        return [records.array(request) for request in requests]


def every(count: int, of: int) -> range:
    """`count` indices spread over `of`."""
    return range(0, of, max(1, of // count))


@torch.inference_mode()
def read_difference(ours: engine.Ours, tokenizer: Any, net: Any, texts: Sequence[str]) -> float:
    """The largest distance from a plain state, as a share of its norm; not at the last layer, which comes normed."""
    found = answers(ours, engine.read_requests(texts))
    differences: list[float] = []
    for i in every(ROWS, len(texts)):
        states = net(**tokenizer(texts[i], return_tensors="pt"), output_hidden_states=True).hidden_states
        plain = np.stack([state[0, -1].numpy() for state in states[:-1]])
        distance = np.linalg.norm(found[i][: len(plain)] - plain, axis=-1)
        differences.append(float((distance / np.linalg.norm(plain, axis=-1)).max()))
    return float(np.max(differences))


@torch.inference_mode()
def score_difference(
    ours: engine.Ours, tokenizer: Any, net: Any, rows: Sequence[dict[str, str]]
) -> tuple[float, float]:
    """The largest difference of a token's log-probability, in nats, and the sum of all that were scored."""
    assert all(same_either_way(tokenizer, row) for row in rows), (
        "context and continuation merge at their seam"
    )
    found = answers(ours, engine.score_requests(rows))
    differences: list[float] = []
    for i in every(ROWS, len(rows)):
        ids, start = row_ids(tokenizer, rows[i])
        logits = net(torch.tensor([ids])).logits[0, start - 1 : -1].log_softmax(-1)
        plain = logits.gather(1, torch.tensor(ids[start:])[:, None])[:, 0].numpy()
        differences.append(float(np.abs(found[i] - plain).max()))
    return float(np.max(differences)), float(sum(array.sum() for array in found))


@torch.inference_mode()
def steer_difference(
    ours: engine.Ours, tokenizer: Any, net: Any, prompts: Sequence[str], last_only: bool
) -> float:
    """The largest difference, in nats, of the answer token's log-probability from that of a hook loop."""
    vector = engine.direction(net.config.hidden_size)
    target = tokenizer(engine.ANSWER).input_ids
    assert len(target) == 1, f"{engine.ANSWER!r} is not one token"

    def length(text: str) -> int:
        return len(tokenizer(text).input_ids)

    requests = engine.steer_requests(prompts, net.config.hidden_size, last_only, length)
    found = np.concatenate(answers(ours, requests)).reshape(engine.DOSES, len(prompts))
    span = slice(-1, None) if last_only else slice(None)
    differences: list[float] = []
    for d, dose in enumerate(engine.doses()):

        def hook(_module: Any, _inputs: Any, output: Any, dose: float = dose) -> None:
            (output[0] if isinstance(output, tuple) else output)[:, span] += dose * vector

        handle = net.model.layers[engine.LAYER - 1].register_forward_hook(hook)
        for i in every(STEERED, len(prompts)):
            logits = net(**tokenizer(prompts[i], return_tensors="pt")).logits[0, -1]
            differences.append(abs(float(logits.log_softmax(-1)[target[0]]) - float(found[d, i])))
        handle.remove()
    return float(np.max(differences))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--grid", type=Path)
    parser.add_argument("--prompts", type=Path)
    args = parser.parse_args()
    ours = engine.Ours(args.model, "float32", "cpu")
    tokenizer, net = load(args.model, "float32")
    line: dict[str, float] = {}
    if args.texts:
        line["read"] = read_difference(ours, tokenizer, net, read_lines(args.texts))
    if args.grid:
        line["score"], line["sum_logprob"] = score_difference(ours, tokenizer, net, read_rows(args.grid))
    if args.prompts:
        for name, last_only in (("steer_all", False), ("steer_last", True)):
            line[name] = steer_difference(ours, tokenizer, net, read_lines(args.prompts), last_only)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
