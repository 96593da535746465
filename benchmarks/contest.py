"""Runs programs one after the other, round after round (A B A B), each in a process of its own.

Every program loads and warms up first, times itself, and ends with one JSON line, as `peers/README.md` says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import Sample

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
UNITS = ("tokens", "requests")


class ContestError(RuntimeError):
    """A program failed; the message is one sentence and the end of what it wrote."""


@dataclass(frozen=True)
class Contender:
    """A program: its name in the table and its command line."""

    name: str
    command: tuple[str, ...]


def ours(*words: str | Path, name: str = "unmask") -> Contender:
    """unmask's side of a case."""
    return Contender(name, (sys.executable, "-m", "benchmarks.ours", *map(str, words)))


def code_of(*words: object, name: str) -> Contender:
    """A side of what dictionaries do."""
    return Contender(name, (sys.executable, "-m", "benchmarks.dictionaries", *map(str, words)))


def plain(*words: str | Path, name: str) -> Contender:
    """A floor or plain transformers, in unmask's own environment."""
    return Contender(name, (sys.executable, "-m", "benchmarks.plain", *map(str, words)))


def peer(environments: Path, family: str, script: str, *words: object, name: str) -> Contender:
    """A peer in the environment of its family below `environments`."""
    python = environments / family / "bin" / "python"
    if not python.exists():
        raise ContestError(
            f"There is no {python}: `make bench` sets the peers up, and BENCH_PEERS names a folder that has them."
        )
    return Contender(name, (str(python), str(PEERS / script), *map(str, words)))


def environment(threads: int) -> dict[str, str]:
    """The same threads for every program, and no look at the network."""
    count = str(threads)
    return {
        **os.environ,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def capture(contender: Contender, environ: Mapping[str, str]) -> str:
    """Run a program and give what it printed.

    Raises:
        ContestError: it failed.
    """
    done = subprocess.run(
        contender.command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise ContestError(f"{contender.name} ended with {done.returncode}:\n{tail}")
    return done.stdout


def run_json(contender: Contender, environ: Mapping[str, str]) -> dict[str, Any]:
    """Run a program and give its JSON line.

    Raises:
        ContestError: it failed or printed none.
    """
    lines = [line for line in capture(contender, environ).splitlines() if line.startswith("{")]
    if not lines:
        raise ContestError(f"{contender.name} printed no result.")
    return json.loads(lines[-1])


def race(
    contenders: Sequence[Contender],
    rounds: int,
    run: Callable[[Contender], Mapping[str, Any]],
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Sample]:
    """Each contender once a round, in the same order every round.

    Args:
        run: gives a contender's JSON line.
        say: hears of every result as it comes.
    """
    lines: dict[str, list[Mapping[str, Any]]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            line = run(contender)
            lines[contender.name].append(line)
            say(f"round {number + 1} of {rounds}: {contender.name} {sample_of([line]).median:.4g}")
    return {name: sample_of(found) for name, found in lines.items()}


def sample_of(lines: Sequence[Mapping[str, Any]]) -> Sample:
    """One program's JSON lines as one sample; a line with several repeats gives several rates."""
    unit = next(unit for unit in UNITS if unit in lines[0])
    rates = tuple(line[unit] / seconds for line in lines for seconds in line["seconds"])
    peak = max(line["peak_mib"] for line in lines)
    return Sample(f"{unit}/s", rates, peak, lines[-1].get("sum_logprob"), lines[-1].get("fvu"))
