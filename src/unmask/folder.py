"""A run's folder: what is written where, and how it is read back."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from unmask.domains.load import copy_domain
from unmask.runner.store import RecordStore
from unmask.writing import replacing, write_atomically

INDEX = "records/index.json"
HOLDER = ".holder.json"


class FolderInUse(RuntimeError):
    """Another process works in a run's folder; the message says which, in one sentence for the user."""


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

    @property
    def dictionary(self) -> Path:
        """Where the copy of the dictionary is."""
        return self.path / "dictionary"

    def borrow(self, other: RunFolder) -> None:
        """Have the records of another run as well, without copying them; an audit finds those that it asks for."""
        for path in (other.path / "records").rglob("*.safetensors"):
            there = self.path / path.relative_to(other.path)
            there.parent.mkdir(parents=True, exist_ok=True)
            if not there.exists():
                os.link(path, there)

    @contextmanager
    def held(self) -> Generator[None]:
        """Keep every other process out of the folder within the block.

        The system lets go of the lock when its process ends, however that ends, so none is ever left behind.

        Raises:
            FolderInUse: another process holds the folder; says which, where and since when.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.path / ".lock").acquire(blocking=False)
        except Timeout as error:
            raise FolderInUse(
                f"{self.path} is in use by {self._holder()}; wait until that is done, or take another folder."
            ) from error
        with lock:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            self.write(HOLDER, {"pid": os.getpid(), "host": socket.gethostname(), "since": since})
            try:
                yield
            finally:
                (self.path / HOLDER).unlink(missing_ok=True)

    def _holder(self) -> str:
        try:
            who = self.read(HOLDER)
            return f"process {who['pid']} on {who['host']} since {who['since']}"
        except (OSError, KeyError):  # it has only just come, or is about to go
            return "another process"

    def domain(self, name: str) -> Path:
        """Where the copy of a domain's own files is, so that the run is judged again wherever it is taken."""
        return self.path / "domains" / name

    def begin(self, facts: Mapping[str, object], domains: Mapping[str, str], fresh: bool) -> None:
        """Take away what an earlier run in this folder came to, then write how this one is made.

        The index goes first. Without it no record is replayed, so that a run which is killed in here is an unfinished
        one, and never shows the records of one run under the facts of another.

        Args:
            facts: run.json.
            domains: by name, as references.
            fresh: take the records away as well.
        """
        for name in (INDEX, "findings.json", "report.html"):
            (self.path / name).unlink(missing_ok=True)
        self.write_tables({})
        if fresh:
            self.records.clear()
        for name, reference in domains.items():
            copy_domain(reference, self.domain(name))
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
