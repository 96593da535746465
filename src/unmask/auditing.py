"""An audit from end to end: a pair, its domains and a profile in; a run's folder with a verdict out."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from unmask.choosing import choose_measurements, make_contexts, open_domains, profile_named, rules_of
from unmask.domains import Domain, domain_folders, load_domain
from unmask.folder import INDEX, RunFolder
from unmask.measurements.base import Measurement
from unmask.measurements.profiles import Profile
from unmask.measurements.schedule import Outcome, run_measurements
from unmask.models.prompts import Frame
from unmask.runner.planner import Budget
from unmask.runner.records import MissingRecord, Replay
from unmask.runner.requests import digest
from unmask.runner.store import RECORD_VERSION
from unmask.settings import Pair, Settings, SettingsError
from unmask.verdict.calibrated import error_record
from unmask.verdict.decide import judge, mask_verdict
from unmask.verdict.depth import depth_profile
from unmask.verdict.findings import Finding
from unmask.writing import write_atomically

if TYPE_CHECKING:
    from unmask.runner.local import Progress

SCHEMA = "unmask/1"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it is.
        facts: run.json.
        findings: findings.json.
        tables: tidy tables by "DOMAIN/MEASUREMENT.TABLE".
    """

    folder: RunFolder
    facts: Mapping[str, Any]
    findings: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame] = field(repr=False)

    @property
    def failed(self) -> bool:
        """Whether a measurement failed."""
        return any(result["failures"] for result in self.findings["results"])


def audit(
    pair: Pair,
    out: str | Path,
    settings: Settings | None = None,
    progress: Progress | None = None,
    fresh: bool = False,
    draw: bool = True,
) -> Run:
    """Audit a pair.

    Args:
        pair: the two models.
        out: the run's folder; what it already holds of the same request set is not asked again.
        settings: everything else.
        progress: watches the rounds of work.
        fresh: ask everything again, whatever records there are.
        draw: draw the report as well; `judge_again` draws it later.

    Raises:
        ModelError: a model cannot be found, loaded or paired.
        DomainError: a domain is wrong.
        SettingsError: a setting has no such value.
        FolderInUse: another process works in the folder.
        Stopped: SIGINT or SIGTERM came while models ran; the batch in flight was finished first.
        DamagedRecord: a record was spoilt while the run was on.
        OSError: a file could not be written; ENOSPC or EDQUOT where the disk is full.

        After any of the last three, the same audit goes on.
    """
    from unmask.forecasting import forecast, pace_facts, what_is_audited
    from unmask.opening import open_pair
    from unmask.runner.local import LocalRunner, software_facts  # torch is imported only when models run
    from unmask.runner.pace import keep_pace

    settings = settings or Settings()
    started, clock = datetime.now(UTC), time.monotonic()
    profile = profile_named(settings.profile)
    measurements = choose_measurements(settings.measurements, settings.skip, settings.sae is not None)
    domains = open_domains(settings.domains)
    folder = RunFolder(Path(out))
    opened = open_pair(pair, settings, domains)
    found = time.monotonic()  # what finding the pair took, a download above all, is not foreseen
    engines = opened.engines
    identities = {name: engine.identity for name, engine in engines.items()}
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "unmask": version("unmask"),
        "pair": {"base": str(pair.base), "aligned": str(pair.aligned)},
        "command": settings.command(pair, folder.path),
        "resolved": opened.resolved,
        "identities": identities,
        "domains": [
            _domain_facts(domain, reference)
            for domain, reference in zip(domains.values(), settings.domains, strict=True)
        ],
        "settings": settings.record(),
        "dictionary": None if opened.dictionary is None else opened.dictionary.record(),
        "measurements": [measurement.name for measurement in measurements],
        "profile": profile.record(),
        "seed": settings.seed,
        "frame": asdict(opened.frame),
        "notes": opened.notes,
        "n_layers": opened.n_layers,
        "engine": software_facts(),
        **engines["base"].facts,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "started": started.isoformat(timespec="seconds"),
        "rules": {id_: asdict(rule) for id_, rule in rules_of(measurements).items()},
    }
    with folder.held():  # only now, when the pair is known to be sound
        folder.begin(facts, dict(zip(domains, settings.domains, strict=True)), fresh)
        if opened.dictionary is not None:
            opened.dictionary.keep(folder.dictionary)
        budget = Budget.of(str(engines["base"].facts["device"]))
        runner = LocalRunner(engines, folder.records, budget, progress, fresh)
        contexts = make_contexts(
            domains, profile, opened.frame, settings.seed, opened.n_layers, identities, opened.dictionary
        )
        if progress is not None:
            progress.expect(partial(forecast, measurements, contexts, engines))
        outcomes = run_measurements(measurements, contexts, runner)
        facts["halved_batches"] = runner.halved
        facts["damaged_records"] = runner.damaged
        facts["plainly"] = runner.plainly
        seconds = {**runner.seconds, "all": time.monotonic() - clock}
        facts["timings"] = {"seconds": {name: round(value, 2) for name, value in seconds.items()}}
        folder.write(INDEX, {"batches": runner.batches})
        run = _conclude(folder, facts, domains, measurements, outcomes, draw)
        beside = time.monotonic() - found - sum(runner.seconds.values())
        keep_pace(
            pace_facts(engines["base"]),
            runner.served,
            what_is_audited(measurements, contexts),
            None if runner.recalled else beside,
        )
        return run


def judge_again(path: str | Path) -> Run:
    """Judge a finished run again and draw its report, from its records alone.

    Raises:
        FileNotFoundError: the folder is no run.
        MissingRecord: the run is unfinished, or a record is damaged.
        SettingsError: the run is another version's, or its copy of a domain is not what was audited.
        DomainError: its copy of a domain is damaged.
        DictionaryError: its dictionary is damaged, gone or another one.
        FolderInUse: another process works in the folder.
    """
    folder = RunFolder(Path(path))
    folder.read("run.json")  # what is no run is left untouched
    with folder.held():
        facts = folder.read("run.json")
        frame, profile = _frame_and_profile(facts, folder)
        domains = {
            one["name"]: _domain_of_run(folder, one["name"], one["digest"]) for one in facts["domains"]
        }
        used = facts["dictionary"]
        measurements = choose_measurements(tuple(facts["measurements"]), dictionary=used is not None)
        dictionary = None
        if used is not None:
            from unmask.features.dictionary import Dictionary

            dictionary = Dictionary.reopened(used, folder.dictionary)
        runner = Replay(folder.records, facts["identities"], _batches(folder))
        contexts = make_contexts(
            domains, profile, frame, facts["seed"], facts["n_layers"], facts["identities"], dictionary
        )
        outcomes = run_measurements(measurements, contexts, runner)
        return _conclude(folder, facts, domains, measurements, outcomes)


_REPLAYED = {
    "dictionary",
    "domains",
    "frame",
    "identities",
    "measurements",
    "n_layers",
    "pair",
    "profile",
    "seed",
}


def _frame_and_profile(facts: Mapping[str, Any], folder: RunFolder) -> tuple[Frame, Profile]:
    """What run.json holds of both, when it holds all that judging again needs, in this version's shape."""
    try:
        recorded: Mapping[str, Any] = facts.get("engine", {})
        same = facts.get("schema") == SCHEMA and recorded.get("records") == RECORD_VERSION
        if same and facts.keys() >= _REPLAYED:
            frame: dict[str, Any] = {**facts["frame"], "stop": tuple(facts["frame"]["stop"])}
            return Frame(**frame), Profile(**facts["profile"])
    except (KeyError, TypeError):
        pass  # a part that has changed between versions
    raise SettingsError(
        f"{folder.path / 'run.json'} is not as this version writes it ({SCHEMA}), so the run cannot be judged again; "
        "run the same audit again."
    )


def _domain_of_run(folder: RunFolder, name: str, digest: str) -> Domain:
    """The copy of a domain in the run's folder, when it is still what was audited."""
    domain = load_domain(folder.domain(name))
    if domain.digest != digest:
        raise SettingsError(
            f"the domain '{name}' is not as it was audited (its copy {folder.domain(name)} has changed, or the files "
            "that come with unmask), so the run cannot be judged again; run the same audit again."
        )
    return domain


def _batches(folder: RunFolder) -> list[str]:
    """Keys of the batches that a finished run rests on; its folder may hold those of other runs as well."""
    if not (folder.path / INDEX).exists():
        raise MissingRecord(f"the run in {folder.path} is unfinished: run the same audit again to finish it.")
    index = folder.read(INDEX)
    if "batches" not in index:
        raise MissingRecord(f"{folder.path / INDEX} is damaged: run the same audit again.")
    return index["batches"]


def _domain_facts(domain: Domain, reference: str) -> dict[str, Any]:
    installed = reference in domain_folders()
    return {
        "reference": reference if installed else Path(reference).resolve().name,
        "digest": domain.digest,
        "topics": {
            "questions": len({question.topic for question in domain.questions}),
            "facts": len({fact.topic for fact in domain.facts}),
        },
        **domain.header.model_dump(),
    }


def _conclude(
    folder: RunFolder,
    facts: Mapping[str, Any],
    domains: Mapping[str, Domain],
    measurements: Sequence[Measurement],
    outcomes: Mapping[str, Outcome],
    draw: bool = True,
) -> Run:
    """Judge, write findings and tables, draw the report."""
    rules = rules_of(measurements)
    results: list[dict[str, Any]] = []
    tables: dict[str, pd.DataFrame] = {}
    for name, outcome in outcomes.items():
        findings: list[Finding] = []
        for measurement in measurements:
            if measurement.name in outcome.readings:
                findings += judge(outcome.readings[measurement.name], measurement.claims, rules)
        for reading in outcome.readings.values():
            tables |= {f"{name}/{reading.measurement}.{key}": table for key, table in reading.tables.items()}
        results.append(
            {
                "domain": name,
                "family": "mask",
                "verdict": mask_verdict(findings).record(),
                "findings": [
                    {**finding.record(), "error_rates": error_record(facts["profile"]["name"], finding.id)}
                    for finding in findings
                ],
                "profile_axes": depth_profile(outcome.readings),
                "notes": [
                    {"measurement": reading.measurement, "note": note}
                    for reading in outcome.readings.values()
                    for note in reading.notes
                ],
                "failures": [
                    {"measurement": failure.measurement, "message": failure.message}
                    for failure in outcome.failures
                ],
            }
        )
    findings_file = {
        "schema": SCHEMA,
        "pair": facts["pair"],
        "profile": facts["profile"]["name"],
        "seed": facts["seed"],
        "results": results,
    }
    folder.write("findings.json", findings_file)
    folder.write("run.json", facts)
    folder.write_tables(tables)
    written = folder.read("findings.json")
    if draw:
        from unmask.report import render_report

        # The report is drawn from what was written, so that it shows exactly what the files say.
        write_atomically(folder.report, render_report(folder.read("run.json"), written, tables))
    return Run(folder, facts, written, tables)


def run_name(pair: Pair) -> str:
    """The default folder of a pair: `BASE--ALIGNED`, fit for a file system."""
    words = [
        str(model).strip("./").replace("/", "_").replace(":", "-") for model in (pair.base, pair.aligned)
    ]
    name = "--".join(words)
    return name if len(name) <= 120 else f"{name[:100]}-{digest(name)[:12]}"
