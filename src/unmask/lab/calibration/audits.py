"""Audits known samples, several processes side by side; what is done already is not done again."""

from __future__ import annotations

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import unmask
from unmask.auditing import Run, audit
from unmask.choosing import profile_named
from unmask.domains import load_domain
from unmask.lab.calibration.samples import Audited, Sample
from unmask.lab.side_by_side import processes
from unmask.lab.world.train import digest_of
from unmask.models.errors import ModelError
from unmask.runner.requests import digest
from unmask.settings import Pair, Settings
from unmask.verdict.rules import RULES
from unmask.writing import write_atomically

CODE = ("domains", "measurements", "models", "runner", "stats", "verdict")
"""Packages whose code an audit's numbers hang on."""


@dataclass(frozen=True)
class Batch:
    """Audits that share what the base model answers: one base model, domain and seed.

    Attributes:
        samples: pairs with the same base model.
        domain: of all of them.
        profile, seed: of the audits.
        out: where rows and, while it works, records go.
    """

    samples: tuple[Sample, ...]
    domain: str
    profile: str
    seed: int
    out: Path

    def row(self, sample: Sample) -> Path:
        """Where the row of an audit goes."""
        name = f"{sample.upbringing}-{sample.name}-{self.domain}-{self.profile}-{self.seed}"
        return self.out / "rows" / f"{''.join(c if c.isalnum() or c in '.-' else '_' for c in name)}.json"


def audit_samples(
    samples: Sequence[Sample],
    seeds: Sequence[int],
    out: Path,
    profile: str = "quick",
    workers: int = 2,
    done: Callable[[int, int], None] | None = None,
) -> list[Audited]:
    """Audit every sample with every seed.

    Args:
        samples: what to audit.
        seeds: of the audits: each draws its own part of the domain and its own answers.
        out: a folder; rows that are there already are read.
        profile: sample sizes.
        workers: processes, one thread each.
        done: told how many audits are done, and how many there are.
    """
    batches = list(_batches(samples, seeds, out, profile))
    total = sum(len(batch.samples) for batch in batches)
    rows: list[Audited] = []
    with processes(workers) as pool:
        for finished in as_completed([pool.submit(run_batch, batch) for batch in batches]):
            rows += finished.result()
            if done is not None:
                done(len(rows), total)
    return rows


def run_batch(batch: Batch) -> list[Audited]:
    """Audit the samples of a batch one after another, in one run's folder, so that base answers once."""
    rows: list[Audited] = []
    folder = batch.out / "work" / batch.row(batch.samples[0]).stem
    for sample in batch.samples:
        path, on = batch.row(sample), _on(sample, batch.profile)
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"on": None}
        if record["on"] != on:
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {"on": on, "audited": audit_sample(sample, folder, batch.profile, batch.seed).record()}
            write_atomically(path, json.dumps(record, indent=1) + "\n")
        row = Audited.of_record(record["audited"])
        # What is known of a sample may have grown since it was audited.
        rows.append(replace(row, truth=sample.truths[row.layer]))
    shutil.rmtree(folder, ignore_errors=True)
    return rows


def _on(sample: Sample, profile: str) -> list[object]:
    """What an audit hangs on."""
    rules = {id_: asdict(rule) for id_, rule in RULES.items()}
    sizes = profile_named(profile).record()
    domain = load_domain(sample.domain).digest
    return [domain, digest_of(sample.base), digest_of(sample.aligned), digest([rules, sizes]), _code()]


@cache
def _code() -> str:
    """Of everything that an audit runs."""
    root = Path(unmask.__file__).parent
    files = [path for name in CODE for path in sorted((root / name).rglob("*.py"))]
    return digest([path.read_text(encoding="utf-8") for path in [*files, root / "auditing.py"]])


def audit_sample(sample: Sample, folder: Path, profile: str, seed: int) -> Audited:
    """One audit of one sample."""
    started = time.monotonic()
    # In fp32: of models this small bf16 saves no time.
    settings = Settings(domains=(sample.domain,), profile=profile, device="cpu", dtype="float32", seed=seed)
    run = audit(Pair(str(sample.base), str(sample.aligned)), folder, settings, draw=False)
    (result,) = run.findings["results"]
    if result["failures"]:
        raise ModelError(f"the audit of {sample.name} failed: {result['failures'][0]['message']}")
    layer = _steered(run)
    return Audited(
        sample.name,
        sample.kind,
        sample.strength,
        sample.upbringing,
        sample.domain,
        profile,
        seed,
        layer,
        round(time.monotonic() - started, 1),
        result["verdict"]["label"],
        tuple(result["verdict"]["mechanisms"]),
        tuple(result["verdict"]["blocked_by"]),
        {finding["id"]: _kept(finding) for finding in result["findings"]},
        sample.truths[layer],
    )


def _steered(run: Run) -> int:
    """The layer that an audit of one domain steered."""
    (name,) = (result["domain"] for result in run.findings["results"])
    table = run.tables[f"{name}/structure.transfer"]
    (layer,) = set(table.loc[table["steered"], "layer"])
    return int(layer)


def _batches(samples: Sequence[Sample], seeds: Sequence[int], out: Path, profile: str) -> Iterator[Batch]:
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[str(sample.base), sample.domain].append(sample)
    for seed in seeds:
        for (_, domain), some in groups.items():
            yield Batch(tuple(some), domain, profile, seed, out)


def _kept(finding: dict[str, Any]) -> dict[str, Any]:
    """Of a finding what a calibration needs."""
    bars = [
        {name: bar[name] for name in ("quantity", "value", "low", "high", "side", "detectable")}
        for bar in finding["bars"]
    ]
    failed = [control["name"] for control in finding["controls"] if not control["passed"]]
    return {"status": finding["status"], "n": finding["n"], "bars": bars, "failed": failed}
