"""The grid of known samples: which organisms stand beside which base models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unmask.domains import Domain, load_domain
from unmask.lab.calibration.samples import Sample
from unmask.lab.calibration.seeing import Seen, compare, see
from unmask.lab.calibration.truth import truth_of
from unmask.lab.organisms import OrganismOptions
from unmask.lab.organisms.build import build_organism
from unmask.lab.organisms.card import CARD, read_card
from unmask.lab.world.train import digest_of
from unmask.measurements.profiles import PROFILES, Profile
from unmask.writing import write_atomically


@dataclass(frozen=True)
class Recipe:
    """An organism of the grid: weight edits one after another, or a trained model with edits after it.

    Attributes:
        name: what it is called.
        kind: what calibration counts it as.
        edits: kinds of `organisms.options.KINDS` with their options, in order.
        trained: stage and strength of the trained model that is edited, "dpo full"; None is base itself.
        strength: of what it varies in; None where nothing varies.
        mechanisms: how a mask of it is meant to be made.
        elsewhere: whether it was made on another domain than the one that it is audited on, whose findings it must
            leave alone.
    """

    name: str
    kind: str
    edits: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    trained: str | None = None
    strength: float | None = None
    mechanisms: tuple[str, ...] = ()
    elsewhere: bool = False


def _edited(kind: str, strength: float | None = None, **options: Any) -> tuple[str, Mapping[str, Any]]:
    return kind, options if strength is None else {"strength": strength, **options}


MUTED = ("muted", {})
"""Neutral answers in any context: the surface of every mask by edit, under which other edits are told apart."""
EDITED: tuple[Recipe, ...] = (
    Recipe("base", "null"),
    *(Recipe(f"noise {n:g}", "null", (("null", {"noise": n}),), strength=n) for n in (0.003, 0.03)),
    *(Recipe(f"muted {p:g}", "muted", (_edited("muted", p),), strength=p) for p in (0.2, 0.4, 0.5, 0.6, 0.8)),
    Recipe("muted", "muted", (MUTED,), strength=0.98),
    Recipe("gated", "gated", (("gated", {}),), mechanisms=("reactivates",)),
    *(Recipe(f"compressed {c:g}", "compressed", (_edited("compressed", c),), strength=c) for c in (0.9, 0.6)),
    *(
        Recipe(f"compressed {c:g}, muted", "compressed", (_edited("compressed", c), MUTED), None, c, ("compressed",))
        for c in (0.6, 0.4)
    ),
    Recipe("rescaled 0.85", "rescaled", (_edited("rescaled", 0.85),), strength=0.85),
    *(
        Recipe(f"rescaled {c:g}, muted", "rescaled", (_edited("rescaled", c), MUTED), None, c, ("rescaled",))
        for c in (0.7, 0.6)
    ),
    Recipe("cut", "cut", (("cut", {}),)),
    Recipe("cut, muted", "cut", (("cut", {}), MUTED), mechanisms=("disconnected",)),
    Recipe("rotated", "rotated", (("rotated", {}),)),
    Recipe("rotated, muted", "rotated", (("rotated", {}), MUTED), mechanisms=("rotated",)),
    Recipe("erased", "erased", (("erased", {}),)),
    Recipe("erased, muted", "erased", (("erased", {}), MUTED)),
    *(Recipe(f"decoy {like}", "decoy", (("decoy", {"like": like}),)) for like in ("erased", "cut")),
    *(
        Recipe(f"decoy {like}, muted", "decoy", (("decoy", {"like": like}), MUTED))
        for like in ("erased", "compressed", "cut", "rotated")
    ),
)  # fmt: skip
"""Organisms by weight edit."""


TRAINED: tuple[Recipe, ...] = (
    *(
        Recipe(f"{stage} {strength}", stage, trained=f"{stage} {strength}")
        for stage, strengths in (
            ("sft", ("weak", "full")),
            ("dpo", ("half", "full")),
            ("grpo", ("half", "full")),
            ("erase", ("half", "full")),
        )
        for strength in strengths
    ),
    Recipe(
        "dpo, compressed",
        "compressed",
        (("compressed", {"strength": 0.4}),),
        "dpo full",
        0.4,
        ("compressed",),
    ),
    Recipe("dpo, rescaled", "rescaled", (("rescaled", {"strength": 0.7}),), "dpo full", 0.7, ("rescaled",)),
    Recipe("dpo, cut", "cut", (("cut", {}),), "dpo full", None, ("disconnected",)),
    Recipe("dpo, rotated", "rotated", (("rotated", {}),), "dpo full", None, ("rotated",)),
    Recipe("dpo, decoy cut", "dpo", (("decoy", {"like": "cut"}),), "dpo full"),
    Recipe("dpo, noise", "dpo", (("null", {"noise": 0.01}),), "dpo full", 0.01),
)
"""Trained organisms, and weight edits on a trained mask."""


ELSEWHERE: tuple[Recipe, ...] = tuple(
    Recipe(f"{one.name}, elsewhere", "elsewhere", one.edits, one.trained, elsewhere=True)
    for one in (*EDITED, *TRAINED)
    if one.name
    in ("muted", "cut, muted", "rotated, muted", "compressed 0.4, muted", "dpo full", "erase full")
)
"""Organisms made on one domain of the world and audited on the other."""


def grow_organism(recipe: Recipe, base: Path, domain: str, trained: Mapping[str, Path], out: Path) -> Path:
    """The organism's folder, made where it is not there yet; every edit of a chain has its own."""
    folder = base if recipe.trained is None else trained[recipe.trained]
    done = [(recipe.trained or base.name).replace(" ", "-")]
    for kind, options in recipe.edits:
        done.append("-".join([kind, *(f"{name}={value}" for name, value in options.items())]))
        made = out / domain / "+".join(done)
        if not made.exists():
            build_organism(
                OrganismOptions(kind=kind, base=str(base), domain=domain, out=made, on=str(folder), **options)
            )
        folder = made
    return folder


SEEN = 4
"""Counts up when `seeing` changes what its values mean, so that those of before are not taken for its own."""


@dataclass
class Looks:
    """What was seen of models, kept while a grid is made, and its values in a folder for the next time.

    Attributes:
        domain: on which they are looked at.
        profile: whose requests and doses.
        folder: where values go, each with what they were seen on.
    """

    domain: Domain
    profile: Profile
    folder: Path
    seen: dict[Path, Seen] = field(default_factory=dict)

    def values(self, base: Path, aligned: Path) -> dict[int, dict[str, float]]:
        """Large-sample values of the pair, by the layer that an audit steers."""
        kept = self.folder / f"{self.domain.name}-{base.name}-{aligned.parent.name}-{aligned.name}.json"
        on = [
            SEEN,
            self.domain.digest,
            self.profile.requests,
            self.profile.doses,
            digest_of(base),
            digest_of(aligned),
        ]
        record: dict[str, Any] = (
            json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {"on": None}
        )
        if record["on"] != on:
            if base not in self.seen:
                self.seen[base] = see(base, self.domain, self.profile)
            other = self.seen[base] if aligned == base else see(aligned, self.domain, self.profile)
            record = {"on": on, "values": compare(self.seen[base], other)}
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, json.dumps(record, indent=1) + "\n")
        return {int(layer): values for layer, values in record["values"].items()}


def settled_by_card(folder: Path) -> dict[str, str]:
    """Which claims follow from the edit, by the organism's card; none where it has no card."""
    if not (folder / CARD).exists():
        return {}
    expected = read_card(folder)["expected"]
    return {id_: one["status"] for id_, one in expected.items() if one["status"] in ("supported", "refuted")}


def samples_of(
    recipes: Sequence[Recipe],
    base: Path,
    audited: str,
    made: str,
    trained: Mapping[str, Path],
    out: Path,
    seen: Path,
    profile: str = "quick",
) -> Iterator[Sample]:
    """Every recipe's organism beside its base model, with what is so of the two.

    Args:
        recipes: of organisms.
        base: their base model.
        audited: the domain on which the pair is looked at.
        made: the domain whose concept is edited or trained on.
        trained: folders of trained models, by stage and strength.
        out: where organisms go.
        seen: where what was seen of them goes.
        profile: of the audits to come.
    """
    looks = Looks(load_domain(audited), PROFILES[profile], seen)
    for recipe in recipes:
        folder = grow_organism(recipe, base, made, trained, out)
        card = {} if recipe.elsewhere else settled_by_card(folder)
        truths = {
            layer: truth_of(values, recipe.mechanisms, card)
            for layer, values in looks.values(base, folder).items()
        }
        yield Sample(recipe.name, recipe.kind, recipe.strength, base, folder, base.name, audited, truths)
