"""Audits of organisms, held against their cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.auditing import audit
from unmask.folder import RunFolder
from unmask.lab.organisms.card import CARD, read_card
from unmask.settings import Pair, Settings, SettingsError

SETTLED = ("supported", "refuted")


@dataclass(frozen=True)
class Held:
    """One claim of one audit beside what the card says of it.

    Attributes:
        claim: its id.
        expected: the card's status; "as before" where the edit does not aim at the claim.
        because: why, by the card.
        found: the audit's status.
    """

    claim: str
    expected: str
    because: str
    found: str

    @property
    def agrees(self) -> bool:
        """Whether the audit says what the card says is so."""
        return self.expected in SETTLED and self.found == self.expected

    @property
    def contradicts(self) -> bool:
        """Whether the audit says the opposite of what the card says is so."""
        return self.expected in SETTLED and self.found in SETTLED and self.found != self.expected


@dataclass(frozen=True)
class Confirmed:
    """An organism's audit.

    Attributes:
        organism: its folder.
        done: what was done to it, by its card.
        verdict: the audit's label.
        mechanisms: of a mask.
        claims: beside the card.
        run: the run's folder.
    """

    organism: Path
    done: str
    verdict: str
    mechanisms: tuple[str, ...]
    claims: tuple[Held, ...]
    run: Path

    @property
    def contradicted(self) -> bool:
        """Whether any claim is the opposite of what its card says."""
        return any(one.contradicts for one in self.claims)


def confirm(
    organisms: Sequence[Path], out: Path, profile: str = "quick", seed: int = 0, progress: Any = None
) -> list[Confirmed]:
    """Audit organisms beside their base models; runs go on, and what base answers is asked once.

    Args:
        organisms: their folders, each with its card.
        out: a folder for the runs.
        profile, seed: of the audits.
        progress: see `audit`.

    Raises:
        SettingsError: a folder holds no organism, or two have the same name.
    """
    names = [folder.resolve().name for folder in organisms]
    for folder, name in zip(organisms, names, strict=True):
        if not (folder / CARD).is_file():
            raise SettingsError(
                f"{folder} holds no organism ({CARD} is missing); make one with `unmask lab organism`."
            )
        if names.count(name) > 1:
            raise SettingsError(f"two organisms are called {name}, and so would be their runs; rename one.")
    found: list[Confirmed] = []
    for folder, name in zip(organisms, names, strict=True):
        card, run = read_card(folder), RunFolder(out / name)
        for one in found:
            run.borrow(RunFolder(one.run))
        settings = Settings(domains=(card["domain"],), profile=profile, seed=seed)
        (result,) = audit(Pair(card["base"], str(folder.resolve())), run.path, settings, progress).findings[
            "results"
        ]
        statuses = {finding["id"]: finding["status"] for finding in result["findings"]}
        claims = tuple(
            Held(claim, expected["status"], expected["because"], statuses[claim])
            for claim, expected in card["expected"].items()
            if claim in statuses
        )
        verdict = result["verdict"]
        found.append(
            Confirmed(folder, card["done"], verdict["label"], tuple(verdict["mechanisms"]), claims, run.path)
        )
    return found


def table(confirmed: Sequence[Confirmed]) -> str:
    """A Markdown table: per organism its verdict and which claims agree with the card, are open, and contradict it."""
    rows = [
        "| organism | verdict | as the card says | undecided | against the card |",
        "|---|---|---|---|---|",
    ]
    for one in confirmed:
        verdict = one.verdict + (f" ({', '.join(one.mechanisms)})" if one.mechanisms else "")
        settled = [held for held in one.claims if held.expected in SETTLED]
        agree = sum(held.agrees for held in settled)
        undecided = [held.claim for held in settled if not held.agrees and not held.contradicts]
        against = [f"{held.claim} {held.found}" for held in settled if held.contradicts]
        cells = [
            one.organism.name,
            verdict,
            f"{agree} of {len(settled)}",
            ", ".join(undecided),
            ", ".join(against),
        ]
        rows.append(f"| {' | '.join(cell or '–' for cell in cells)} |")
    return "\n".join(rows)
