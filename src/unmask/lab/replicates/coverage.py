"""How often each interval holds what was planted: the real analysis on many samples of populations of known truth."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import repeat
from zlib import crc32

import numpy as np
import pandas as pd

from unmask.lab.replicates import acting, answering, representing
from unmask.lab.replicates.study import Study
from unmask.lab.side_by_side import processes


def every_study() -> list[Study]:
    """All planted populations, by measurement and setting."""
    return [*answering.studies(), *representing.studies(), *acting.studies()]


def coverage_of_all(
    replicates: int, seed: int = 0, only: Collection[str] = (), workers: int = 1
) -> pd.DataFrame:
    """`coverage` of every study, several side by side.

    Args:
        replicates, seed: as `coverage` has them.
        only: measurements; all if empty.
        workers: processes, one thread each.
    """
    chosen = [k for k, study in enumerate(every_study()) if not only or study.measurement in only]
    with processes(workers) as pool:
        tables = pool.map(_numbered, chosen, repeat(replicates), repeat(seed))
        return pd.concat(tables, ignore_index=True)


def _numbered(number: int, replicates: int, seed: int) -> pd.DataFrame:
    """A study by its number: what it plants cannot travel to another process."""
    return _one(every_study()[number], replicates, seed)


def coverage(studies: Iterable[Study], replicates: int, seed: int = 0) -> pd.DataFrame:
    """How the intervals of each study's quantities lie about the truth.

    Args:
        studies: what is planted and how a sample is analysed.
        replicates: samples drawn of each.
        seed: each replicate's randomness follows from it, the study's name and the replicate's number.

    Returns:
        A row a quantity and setting: truth; the share of intervals that hold it (`coverage`), that lie wholly below
        it (`below`) or above it (`above`); mean width of the intervals that are bounded (`width`) and share of those
        that are not (`unbounded`); mean of the estimates less the truth (`bias`) and their sd.
    """
    return pd.concat([_one(study, replicates, seed) for study in studies], ignore_index=True)


def _one(study: Study, replicates: int, seed: int) -> pd.DataFrame:
    name = crc32(f"{study.measurement}/{study.setting}".encode())
    samples = [study.sample(np.random.default_rng([seed, name, k])) for k in range(replicates)]
    rows: list[dict[str, object]] = []
    for quantity, truth in study.truth().items():
        value, low, high = (
            np.array([getattr(sample[quantity], part) for sample in samples])
            for part in ("value", "low", "high")
        )
        # Rounding is no miss: a number that is 0 by construction may come out as 1e-17.
        below, above = high < truth - 1e-9, low > truth + 1e-9
        bounded = np.isfinite(high - low)
        rows.append(
            {
                "measurement": study.measurement,
                "setting": study.setting,
                "quantity": quantity,
                "truth": truth,
                "replicates": replicates,
                "coverage": float(1.0 - (below | above).mean()),
                "below": float(below.mean()),
                "above": float(above.mean()),
                "width": float((high - low)[bounded].mean()) if bounded.any() else float("inf"),
                "unbounded": float(1.0 - bounded.mean()),
                "bias": float(np.nanmean(value) - truth),
                "sd": float(np.nanstd(value)),
            }
        )
    return pd.DataFrame(rows)
