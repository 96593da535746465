"""`python -m unmask.lab.replicates --out FILE`: the coverage of every deciding interval, as CSV."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from unmask.lab.replicates.coverage import coverage_of_all


def main(words: Sequence[str] | None = None) -> None:
    """Write the table as CSV."""
    parser = argparse.ArgumentParser(
        description="Coverage of every deciding interval on planted populations."
    )
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=(), help="measurements")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(words)
    table = coverage_of_all(given.replicates, given.seed, given.only, given.workers)
    table.to_csv(given.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
