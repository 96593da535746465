"""Processes that work side by side, one thread each: more would only get in one another's way."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def processes(count: int) -> ProcessPoolExecutor:
    """That many, started afresh."""
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _one_thread)


def _one_thread() -> None:
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
