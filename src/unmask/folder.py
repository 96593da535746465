"""A run's folder: what is written where, and how it is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from unmask.runner.store import RecordStore
from unmask.writing import replacing, write_atomically

INDEX = "records/index.json"


@dataclass(frozen=True)
class RunFolder:
    """The folder that holds everything about one run."""

    path: Path

    @property
    def records(self) -> RecordStore:
        return RecordStore(self.path / "records")

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def begin(self, facts: Mapping[str, object], fresh: bool) -> None:
        """Take away what an earlier run in this folder came to, then write how this one is made.

        The index goes first. Without it no record is replayed, so that a run which is killed in here is an unfinished
        one, and never shows the records of one run under the facts of another.

        Args:
            facts: run.json.
            fresh: take the records away as well.
        """
        for name in (INDEX, "findings.json", "report.html"):
            (self.path / name).unlink(missing_ok=True)
        self.write_tables({})
        if fresh:
            self.records.clear()
        self.write("run.json", facts)

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the run.

        Raises:
            FileNotFoundError: with a sentence that says what is missing, or that the file is not a run's.
        """
        path = self.path / name
        if not path.is_file():
            raise FileNotFoundError(f"{self.path} is not a run's folder: it has no {name}.")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FileNotFoundError(f"{path} is damaged ({error}); run the same audit again.") from error
        if not isinstance(content, dict):
            raise FileNotFoundError(f"{path} is not a run's {name}: it holds no JSON object.")
        return content

    def write(self, name: str, content: Mapping[str, object]) -> None:
        """Write a JSON file whole or not at all; what is not a number in JSON becomes null."""
        write_atomically(self.path / name, json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n")

    def write_tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Write each table to `readings/DOMAIN/MEASUREMENT.TABLE.parquet`, and leave no other table there."""
        readings = self.path / "readings"
        paths = {readings / f"{name}.parquet": table for name, table in tables.items()}
        for path, table in paths.items():
            with replacing(path) as partial:
                table.to_parquet(partial, index=False)
        for path in {*readings.glob("*/*.*.parquet")} - {*paths}:
            path.unlink()


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: both become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value
