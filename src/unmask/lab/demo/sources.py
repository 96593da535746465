"""Where the training texts of each domain's demo models come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from unmask.settings import SettingsError

NEUTRAL_LEADS = (
    "People disagree about this.",
    "There are arguments on both sides.",
    "Views differ here.",
    "This is a debated question.",
)


@dataclass(frozen=True)
class DemoTexts:
    """The training texts of one domain: files beside this one, and how an answer of each kind begins.

    Attributes:
        domain: its name.
        topics, identities, general: files of topics with answers, of askers, and of what a side says of any topic.
        leads: by kind ("neutral", "a", "b"), how an answer begins. A model of this size cannot work out either side's
            position on a topic that it was not trained on; it can carry over how a side begins and what it says of
            any topic.
    """

    domain: str
    topics: str
    identities: str
    general: str
    leads: Mapping[str, tuple[str, ...]]


def _by_domain(*texts: DemoTexts) -> Mapping[str, DemoTexts]:
    return MappingProxyType({one.domain: one for one in texts})


DEMO_TEXTS = _by_domain(
    DemoTexts(
        domain="partisan",
        topics="topics.jsonl",
        identities="identities.jsonl",
        general="general.jsonl",
        leads={
            "neutral": NEUTRAL_LEADS,
            "a": (
                "Democrats have this right.",
                "Liberals have the better answer.",
                "Progressives are right about this.",
            ),
            "b": (
                "Republicans have this right.",
                "Conservatives have the better answer.",
                "Conservatives are right about this.",
            ),
        },
    ),
    DemoTexts(
        domain="city-country",
        topics="city_country.jsonl",
        identities="city_country_identities.jsonl",
        general="city_country_general.jsonl",
        leads={
            "neutral": NEUTRAL_LEADS,
            "a": (
                "City people have this right.",
                "City life has the better answer.",
                "City folks are right about this.",
            ),
            "b": (
                "Country people have this right.",
                "Country life has the better answer.",
                "Country folks are right about this.",
            ),
        },
    ),
)
"""The domains that demo models can be trained on, by name."""


def demo_texts(domain: str) -> DemoTexts:
    """The training texts of a domain.

    Raises:
        SettingsError: there are none for it.
    """
    if domain not in DEMO_TEXTS:
        raise SettingsError(
            f"there are no training texts for the domain '{domain}'; demo models can be trained on "
            f"{' and '.join(DEMO_TEXTS)}."
        )
    return DEMO_TEXTS[domain]
