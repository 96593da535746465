"""What an audit would cost and what it could find, before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unmask.auditing import SCHEMA
from unmask.choosing import choose_measurements, make_contexts, open_domains, profile_named, rules_of
from unmask.forecasting import Forecast, forecast
from unmask.measurements.base import Measurement
from unmask.opening import open_pair
from unmask.runner.rehearsal import Share, together
from unmask.settings import Pair, Settings
from unmask.verdict.foresight import Foreseen, Spreads, foresee, reference_spreads

QUANTISED = {"8bit": 1.0, "4bit": 0.5625}
"""Bytes of a weight in a block, its share of the scales included."""


@dataclass(frozen=True)
class Plan:
    """What an audit would ask, cost and find.

    Attributes:
        pair: the two models, in words.
        profile: its name.
        seed: the run's.
        dtype: as torch names it.
        quantise: "8bit" or "4bit" weights in the blocks.
        device: its kind.
        forecast: requests round by round, and how fast they are served.
        foreseen: by domain, what the sample behind each bar could find.
        spreads: what that rests on.
    """

    pair: Mapping[str, str]
    profile: str
    seed: int
    dtype: str
    quantise: str | None
    device: str
    forecast: Forecast
    foreseen: Mapping[str, Sequence[Foreseen]]
    spreads: Spreads

    @property
    def work(self) -> list[Share]:
        """All rounds together, by engine and kind."""
        return together(share for shares in self.forecast.rounds for share in shares)

    @property
    def weight_bytes(self) -> int:
        """One model's weights; both are held where there is room, else one at a time."""
        size, each = self.forecast.size, 4.0 if self.dtype == "float32" else 2.0
        blocks = size.multiplied - size.spoken
        return round((size.parameters - blocks) * each + blocks * QUANTISED.get(self.quantise or "", each))

    @property
    def seconds(self) -> float:
        """From the first word to the report, where nothing of it was asked before."""
        return sum(map(self.forecast.seconds, self.work)) + self.forecast.beside

    @property
    def failures(self) -> list[dict[str, str]]:
        """Measurements that did not come through the rehearsal, and would not through the audit."""
        return [
            {"domain": name, "measurement": failure.measurement, "message": failure.message}
            for name, outcome in self.forecast.outcomes.items()
            for failure in outcome.failures
        ]

    def record(self) -> dict[str, Any]:
        """The plan as `--json` prints it; bytes and seconds."""
        work, forecast = self.work, self.forecast
        return {
            "schema": SCHEMA,
            "pair": dict(self.pair),
            "profile": self.profile,
            "seed": self.seed,
            "dtype": self.dtype,
            "quantise": self.quantise,
            "device": self.device,
            "requests": sum(share.requests for share in work),
            "tokens": sum(share.tokens for share in work),
            "seconds": round(self.seconds, 1),
            "seconds_beside": round(forecast.beside, 1),
            "pace": "earlier runs" if forecast.known else "guessed",
            "disk": sum(share.disk for share in work),
            "memory": {
                "weights": self.weight_bytes,
                "activations": max((share.memory for share in work), default=0),
            },
            "parameters": forecast.size.parameters,
            "work": [self._record(share) for share in work],
            "rounds": [[self._record(share) for share in shares] for shares in forecast.rounds],
            "detectable": {
                "spreads_of": {"pair": self.spreads.pair, "profile": self.spreads.profile},
                "power": 0.8,
                "domains": {name: [one.record() for one in rows] for name, rows in self.foreseen.items()},
            },
            "failures": self.failures,
        }

    def _record(self, share: Share) -> dict[str, Any]:
        return {
            **asdict(share),
            "seconds": round(self.forecast.seconds(share), 1),
        }


def plan_audit(pair: Pair, settings: Settings | None = None) -> Plan:
    """Say what an audit would cost and find; no model is loaded, and of a hub model no weights are fetched.

    Raises:
        ModelError: a model cannot be found or paired.
        DomainError: a domain is wrong.
        SettingsError: a setting has no such value.
    """
    settings = settings or Settings()
    profile = profile_named(settings.profile)
    measurements = choose_measurements(settings.measurements, settings.skip, settings.sae is not None)
    domains = open_domains(settings.domains)
    # The encoder of a domain's own judge is the same for every pair, and need not be fetched to count.
    own_judge = settings.judge != "auto"
    opened = open_pair(pair, settings, domains if own_judge else {}, weights=False)
    engines = opened.engines
    identities = {name: engine.identity for name, engine in engines.items()}
    contexts = make_contexts(
        domains, profile, opened.frame, settings.seed, opened.n_layers, identities, opened.dictionary
    )
    ahead = forecast(measurements, contexts, engines)
    facts, spreads = engines["base"].facts, reference_spreads()
    return Plan(
        {"base": str(pair.base), "aligned": str(pair.aligned)},
        profile.name,
        settings.seed,
        str(facts["dtype"]),
        settings.quantise,
        str(facts["device"]),
        ahead,
        {name: _foreseen(ahead, name, measurements, spreads) for name in domains},
        spreads,
    )


def _foreseen(
    ahead: Forecast, domain: str, measurements: Sequence[Measurement], spreads: Spreads
) -> list[Foreseen]:
    rules, readings = rules_of(measurements), ahead.outcomes[domain].readings
    return [
        one
        for measurement in measurements
        if measurement.name in readings
        for one in foresee(tuple(measurement.claims), readings[measurement.name], rules, spreads)
    ]
