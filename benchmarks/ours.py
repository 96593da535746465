"""unmask's side of every contest, and the only file here that knows the engine's API.

`python -m benchmarks.ours read|score|steer|generate|memory --model DIR --input FILE` prints one JSON line, as the
peers do. What is timed is what a user gets: requests made, planned, tokenised and answered, records written to an
empty folder, answers taken from them. Weights are loaded before, and one round of the same work warms up.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch

from benchmarks.material import read_lines, read_rows
from benchmarks.plain import report
from unmask import Pair, Settings
from unmask.models import Add, Frame, Sampling, Vector
from unmask.opening import open_pair
from unmask.runner.local import LocalRunner
from unmask.runner.planner import Budget
from unmask.runner.records import Records
from unmask.runner.requests import Generate, Read, Request, Score
from unmask.runner.store import RecordStore

LAYER = 16
"""The output of block 15 is what peers/steer.py edits."""
DOSES = 11
ANSWER = " The"
"""One token: what the steered model's log-probability is asked of."""


class Ours:
    """A model that is loaded once, and a new runner over an empty folder for every round of work.

    Args:
        model: any reference.
        dtype: as in `Settings`.
        device: as in `Settings`.
    """

    def __init__(self, model: str, dtype: str = "auto", device: str = "auto") -> None:
        self._pair = Pair(model, model)
        self._settings = Settings(dtype=dtype, device=device)
        self._loaded: Any = None

    def runner(self, folder: Path) -> LocalRunner:
        """A runner that has answered nothing and tokenised nothing yet."""
        engines = open_pair(self._pair, self._settings, {}).engines
        if self._loaded is None:
            self._loaded = engines["base"].load()
        return LocalRunner(
            {name: replace(engine, load=lambda: self._loaded) for name, engine in engines.items()},
            RecordStore(folder),
            Budget.of(str(engines["base"].facts["device"])),
        )

    @property
    def model(self) -> Any:
        """The loaded model; there is one once a runner was made."""
        return self._loaded


Take = Callable[[Records, Sequence[Request]], int]
Work = tuple[str, Callable[[], list[Request]], Take]
"""The unit of work, the requests, and how answers are taken; taking gives the amount of work done."""


def read_requests(texts: Sequence[str]) -> list[Request]:
    """Every layer at each text's last token."""
    return [Read("base", Frame.plain(text), "last") for text in texts]


def score_requests(rows: Sequence[dict[str, str]]) -> list[Request]:
    return [Score("base", Frame.plain(row["context"]), row["continuation"]) for row in rows]


def direction(d_model: int) -> torch.Tensor:
    """The unit vector of peers/steer.py, `[d_model]`."""
    vector = torch.randn(d_model, generator=torch.Generator().manual_seed(0))
    return vector / vector.norm()


def doses() -> list[float]:
    return torch.linspace(-20, 20, DOSES).tolist()


def steer_requests(
    prompts: Sequence[str], d_model: int, last_only: bool, length: Callable[[str], int]
) -> list[Request]:
    """Each prompt at each dose; the edit is at every position, or at the prompt's last alone."""
    vector = Vector("benchmark direction", direction(d_model).numpy())
    return [
        Score(
            "base",
            Frame.plain(prompt),
            ANSWER,
            Add(
                (LAYER,),
                vector,
                dose,
                skip_first=False,
                positions=(length(prompt) - 1,) if last_only else None,
            ),
        )
        for dose in doses()
        for prompt in prompts
    ]


def generate_requests(prompts: Sequence[str], samples: int, new_tokens: int) -> list[Request]:
    sampling = Sampling(new_tokens)
    return [
        Generate("base", Frame.plain(prompt), seed, sampling) for seed in range(samples) for prompt in prompts
    ]


def sum_of(records: Records, requests: Sequence[Request]) -> float:
    """The sum of every token's log-probability."""
    return sum(float(records.array(request).sum()) for request in requests)


def timed(
    ours: Ours, work: Work, watched: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> tuple[float, int]:
    """Seconds of one round of work from an empty folder, and the amount done.

    Args:
        watched: what goes around the round itself and around nothing else, such as a profiler.
    """
    _, make, take = work
    with TemporaryDirectory() as folder:
        runner = ours.runner(Path(folder))
        with watched():
            begun = time.perf_counter()
            requests = make()
            done = take(runner.answer(requests), requests)
            return time.perf_counter() - begun, done


def work_of(args: argparse.Namespace, ours: Ours) -> Work:
    """The work that the command line names."""

    def length(text: str) -> int:
        return len(ours.model.tokenizer(text).input_ids)

    if args.work == "score":
        rows = read_rows(args.input)

        def take_scores(records: Records, requests: Sequence[Request]) -> int:
            sum_of(records, requests)
            return len(requests)

        return "requests", lambda: score_requests(rows), take_scores
    lines = read_lines(args.input)
    if args.work == "read":
        tokens = sum(map(length, lines))

        def take_states(records: Records, requests: Sequence[Request]) -> int:
            records.stack(requests)
            return tokens

        return "tokens", lambda: read_requests(lines), take_states
    if args.work == "steer":
        d_model = ours.model.d_model

        def take_first(records: Records, requests: Sequence[Request]) -> int:
            records.stack(requests)
            return len(requests)

        return "requests", lambda: steer_requests(lines, d_model, args.last_only, length), take_first

    def take_answers(records: Records, requests: Sequence[Request]) -> int:
        return sum(records.answer(request).tokens for request in requests)

    return "tokens", lambda: generate_requests(lines, args.samples, args.new_tokens), take_answers


def peak_of_a_read(ours: Ours, texts: Sequence[str]) -> int:
    """MiB of the largest resident set while the runner answers; no array is taken, loading is left out.

    The warm-up reads the first texts, and the mark is then set back where Linux allows.
    """
    with TemporaryDirectory() as folder:
        ours.runner(Path(folder)).answer(read_requests(texts[:64]))
    set_peak_back()
    with TemporaryDirectory() as folder:
        runner = ours.runner(Path(folder))
        records = runner.answer(read_requests(texts))
        peak = peak_mib()
        del records
    return peak


def set_peak_back() -> None:
    """Let the largest resident set be the one of now, where Linux allows."""
    marks = Path("/proc/self/clear_refs")
    if marks.exists():
        marks.write_text("5")


def peak_mib() -> int:
    """The largest resident set; that of now, where no system tells it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return psutil.Process().memory_info().rss // 2**20
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 2**10


def profile(ours: Ours, work: Work) -> None:
    """Print where one round's time goes: by Python function, then by operator."""
    python = cProfile.Profile()
    timed(ours, work, lambda: python)
    pstats.Stats(python, stream=sys.stdout).sort_stats("cumulative").print_stats("unmask|benchmarks", 25)
    operators = torch.profiler.profile()
    timed(ours, work, lambda: operators)
    print(
        operators.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=40)
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["read", "score", "steer", "generate", "memory"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--last-only", action="store_true", help="steer: edit the last position alone")
    parser.add_argument("--count", type=int, help="memory: read only so many texts")
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead")
    args = parser.parse_args()
    ours = Ours(args.model, args.dtype, "cpu")
    if args.work == "memory":
        texts = read_lines(args.input)[: args.count]
        print(json.dumps({"work": "memory", "texts": len(texts), "peak_mib": peak_of_a_read(ours, texts)}))
        return
    with TemporaryDirectory() as folder:
        ours.runner(Path(folder))
    work = work_of(args, ours)
    timed(ours, work)
    if args.profile:
        profile(ours, work)
        return
    rounds = [timed(ours, work) for _ in range(args.repeats)]
    report("unmask", args.work, work[0], rounds[0][1], [seconds for seconds, _ in rounds])


if __name__ == "__main__":
    main()
