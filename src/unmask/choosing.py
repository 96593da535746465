"""What an audit is made of, from the words of its settings: measurements with their rules, domains, sizes, contexts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from unmask.domains import Domain, load_domain
from unmask.domains.sample import sample_domain
from unmask.measurements import all_measurements
from unmask.measurements.base import Context, Measurement
from unmask.measurements.profiles import PROFILES, Profile
from unmask.models.prompts import Frame
from unmask.settings import SettingsError
from unmask.verdict.rules import RULES, Rule

if TYPE_CHECKING:
    from unmask.features.dictionary import Dictionary


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


def rules_of(measurements: Sequence[Measurement]) -> dict[str, Rule]:
    """The decision rules of these measurements; a third party's come with it as its attribute `rules`."""
    rules: dict[str, Rule] = {**RULES}
    for measurement in measurements:
        rules |= getattr(measurement, "rules", {})
    return {id_: rules[id_] for measurement in measurements for id_ in measurement.claims}
