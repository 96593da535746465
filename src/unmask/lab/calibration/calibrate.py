"""The whole calibration from one command: models that grow up, organisms made of them, audits, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.folder import RunFolder
from unmask.lab.calibration.audits import audit_samples
from unmask.lab.calibration.grid import EDITED, ELSEWHERE, TRAINED, Recipe, samples_of
from unmask.lab.calibration.samples import Audited, Sample
from unmask.lab.side_by_side import processes
from unmask.lab.world.documents import Manners
from unmask.lab.world.pretrain import Upbringing, grow_up
from unmask.lab.world.stages import train_stage

Tell = Callable[[str], None]

UPBRINGINGS: Mapping[str, Upbringing] = {
    "first": Upbringing(seed=0),
    "second": Upbringing(seed=1),
    "vague": Upbringing(Manners(strength=0.8), seed=2),
}
"""Base models: two that differ in their seed alone, and one in whose world sides show less."""


@dataclass(frozen=True)
class Plan:
    """What a calibration consists of.

    Attributes:
        upbringings: names of base models.
        domains: on which their organisms are made and audited.
        recipes: of organisms.
        untrained: base models without trained organisms, whose making takes longest.
        seeds: of the audits of every organism.
        profile: sample sizes.
        workers: processes, one thread each.
    """

    upbringings: tuple[str, ...] = tuple(UPBRINGINGS)
    domains: tuple[str, ...] = ("council", "kitchen")
    recipes: tuple[Recipe, ...] = (*EDITED, *TRAINED, *ELSEWHERE)
    untrained: tuple[str, ...] = ("vague",)
    seeds: tuple[int, ...] = (0, 1)
    profile: str = "quick"
    workers: int = 2

    def recipes_of(self, upbringing: str, elsewhere: bool) -> tuple[Recipe, ...]:
        """Of one base model's organisms: those that are audited on the domain that they were made on, or elsewhere."""
        return tuple(
            recipe
            for recipe in self.recipes
            if recipe.elsewhere == elsewhere and not (recipe.trained and upbringing in self.untrained)
        )


def calibrate(plan: Plan, out: Path, tell: Tell = print) -> list[Audited]:
    """Make every known sample and audit it; what `out` holds already is not made or asked again.

    Args:
        plan: what it consists of.
        out: a folder for models, records and rows.
        tell: told where it is.

    Raises:
        FolderInUse: another process works in the folder.
        ModelError: an audit failed.
    """
    out = out.resolve()  # models are named by their folders, and a relative one is no reference to a model
    with RunFolder(out).held():
        return _calibrate(plan, out, tell)


def _calibrate(plan: Plan, out: Path, tell: Tell) -> list[Audited]:
    with processes(plan.workers) as pool:
        list(pool.map(grow_base, plan.upbringings, [out] * len(plan.upbringings)))
        tell(f"{len(plan.upbringings)} base models are grown up.")
        samples: list[Sample] = []
        # What was made on one domain and is audited on another has to be there first.
        for elsewhere in (False, True):
            jobs = [
                (name, audited, made, plan.recipes_of(name, elsewhere), plan.profile)
                for audited in plan.domains
                for made in plan.domains
                for name in plan.upbringings
                if (made != audited) == elsewhere
            ]
            if jobs:
                found = pool.map(make_samples, *zip(*jobs, strict=True), [out] * len(jobs))
                samples += [sample for some in found for sample in some]
    tell(f"{len(samples)} organisms are made, and what is so of each is known.")

    def done(count: int, total: int) -> None:
        tell(f"{count} of {total} audits are done.")

    return audit_samples(samples, plan.seeds, out, plan.profile, plan.workers, done)


def grow_base(name: str, out: Path) -> Path:
    """The folder of a base model, grown where it is not there yet."""
    folder = out / "models" / name
    if not (folder / "upbringing.json").exists():
        grow_up(UPBRINGINGS[name], folder)
    return folder


def make_samples(
    name: str, audited: str, made: str, recipes: Sequence[Recipe], profile: str, out: Path
) -> list[Sample]:
    """The organisms of a base model, made on one domain where they are not there yet, with what is so on another."""
    base = grow_base(name, out)
    folder = out / "organisms" / name
    trained = {
        stage: trained_model(stage, base, made, folder / made / stage.replace(" ", "-"))
        for stage in dict.fromkeys(recipe.trained for recipe in recipes if recipe.trained)
    }
    return list(samples_of(recipes, base, audited, made, trained, folder, out / "seen", profile))


def trained_model(trained: str, base: Path, concept: str, folder: Path) -> Path:
    """The folder of a trained model, trained where it is not there yet; `trained` is "dpo full" and the like."""
    if not (folder / "recipe.json").exists():
        stage, strength = trained.split()
        train_stage(stage, strength, base, folder, concept=concept)
    return folder
