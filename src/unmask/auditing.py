"""An audit from end to end: a pair, its domains and a profile in; a run's folder with a verdict out."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from unmask.domains import Domain, domain_folders, load_domain
from unmask.domains.sample import sample_domain
from unmask.folder import INDEX, RunFolder
from unmask.measurements import all_measurements
from unmask.measurements.base import Context, Measurement
from unmask.measurements.profiles import PROFILES, Profile
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
from unmask.verdict.rules import RULES, Rule
from unmask.writing import write_atomically

if TYPE_CHECKING:
    from unmask.features.dictionary import Dictionary
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


def choose_measurements(
    names: Sequence[str] | None, skip: Sequence[str] = (), dictionary: bool = False
) -> list[Measurement]:
    """The measurements of these names with those that they build on, less those to skip and what builds on them.

    Args:
        names: None for all that can be run.
        skip: not these.
        dictionary: whether there is one to read.

    Raises:
        SettingsError: no such measurement, one that lacks a dictionary, or nothing is left.
    """
    known = all_measurements()
    for name in (*(names or ()), *skip):
        if name not in known:
            raise SettingsError(f"no measurement '{name}'; there are {', '.join(sorted(known))}.")
    unread = () if dictionary else [name for name, one in known.items() if _reads_dictionary(one)]
    if lacking := [name for name in names or () if name in unread]:
        raise SettingsError(
            f"the measurement '{lacking[0]}' reads a sparse autoencoder; name one with --sae."
        )
    wanted = [name for name in known if name not in unread] if names is None else list(names)
    for name in wanted:
        wanted += [need for need in known[name].needs if need in known and need not in wanted]
    left_out = list(skip)
    for gone in left_out:
        left_out += [name for name in wanted if gone in known[name].needs and name not in left_out]
    chosen = [measurement for name, measurement in sorted(known.items()) if name in {*wanted} - {*left_out}]
    if not chosen:
        raise SettingsError("no measurement is left to run; skip fewer.")
    return chosen


def _reads_dictionary(measurement: Measurement) -> bool:
    return bool(getattr(measurement, "reads_dictionary", False))


def open_domains(references: Sequence[str]) -> dict[str, Domain]:
    """Domains by their name.

    Raises:
        DomainError: one is wrong.
        SettingsError: two have one name.
    """
    domains: dict[str, Domain] = {}
    for reference in references:
        domain = load_domain(reference)
        if domain.name in domains:
            raise SettingsError(f"two of the domains are named '{domain.name}'; name each once.")
        domains[domain.name] = domain
    return domains


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


def profile_named(name: str) -> Profile:
    """Sample sizes by their name. Raises SettingsError where there are none of that name."""
    if name not in PROFILES:
        raise SettingsError(f"no profile '{name}'; there are {', '.join(PROFILES)}.")
    return PROFILES[name]


def make_contexts(
    domains: Mapping[str, Domain],
    profile: Profile,
    frame: Frame,
    seed: int,
    n_layers: int,
    identities: Mapping[str, str],
    dictionary: Dictionary | None = None,
) -> dict[str, Context]:
    """What measurements may know, by domain, each reduced to the profile's sample."""
    contexts: dict[str, Context] = {}
    for name, domain in domains.items():
        ctx = Context(domain, profile, frame, seed, n_layers, identities, dictionary=dictionary)
        sample = sample_domain(
            domain,
            profile.questions,
            profile.pairs,
            profile.identities,
            profile.axis_pairs,
            profile.facts,
            ctx.rng("sample"),
        )
        contexts[name] = replace(ctx, domain=sample)
    return contexts


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


def rules_of(measurements: Sequence[Measurement]) -> dict[str, Rule]:
    """The decision rules of these measurements; a third party's come with it as its attribute `rules`."""
    rules: dict[str, Rule] = {**RULES}
    for measurement in measurements:
        rules |= getattr(measurement, "rules", {})
    return {id_: rules[id_] for measurement in measurements for id_ in measurement.claims}


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
