"""`unmask` in processes of their own, to be killed, stopped and starved.

The forkserver has imported everything already, so that each of them starts at once.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest import mock

import torch
from auditing import TINY, by_code

import unmask.auditing
import unmask.models.judges
import unmask.models.load
import unmask.report
import unmask.runner.local
from unmask import cli
from unmask.measurements import all_measurements
from unmask.measurements.profiles import PROFILES

torch.set_num_threads(1)
all_measurements()


def start(words: Sequence[object], said: Path) -> BaseProcess:
    """Run `unmask WORDS` with the tiny profile and a judge that is code; what it prints goes to the file `said`."""
    return start_in_fork(_unmask, [*map(str, words)], said)


def start_in_fork(work: object, *args: object) -> BaseProcess:
    """Run a function of a module that the forkserver can import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["interrupted"])
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):  # it does not heed sys.path
        forkserver.ensure_running()
    process = context.Process(target=work, args=args)  # type: ignore[arg-type]  # any function will do
    process.start()
    return process


def _unmask(words: list[str], said: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["UNMASK_CACHE"] = str(said.with_suffix(".cache"))
    PROFILES["tiny"] = TINY
    unmask.models.judges.build_judge = by_code
    sys.argv = ["unmask", *words]
    with said.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        try:
            cli.main()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()


def limit_memory(megabytes: int) -> None:
    """Let this process have so much more address space than it has; then allocators fail as on a full machine."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + megabytes * 2**20, resource.RLIM_INFINITY))
