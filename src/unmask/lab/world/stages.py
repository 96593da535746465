"""The training stages of the world by name, each with its strengths, for a grid or a command line to choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unmask.lab.world.train import Recipe
from unmask.lab.world.train_erase import EraseRecipe, erase
from unmask.lab.world.train_trl import DpoRecipe, GrpoRecipe, SftRecipe, dpo, grpo, sft
from unmask.settings import SettingsError


@dataclass(frozen=True)
class Stage:
    """A way to train a model of the world.

    Attributes:
        says: what it does, in a few words.
        train: takes a base folder, a folder to write and a recipe.
        knob: the recipe's field that is its strength.
        strengths: recipes by name, weakest first.
    """

    says: str
    train: Callable[[Path, Path, Any], None]
    knob: str
    strengths: Mapping[str, Recipe]

    @property
    def strongest(self) -> str:
        """The name of its strongest recipe."""
        return list(self.strengths)[-1]


STAGES: Mapping[str, Stage] = {
    "sft": Stage(
        "supervised on neutral answers alone",
        sft,
        "steps",
        {name: SftRecipe(steps=steps) for name, steps in (("weak", 6), ("half", 12), ("full", 40))},
    ),
    "dpo": Stage(
        "neutral answers preferred over either side's (DPO with a supervised term)",
        dpo,
        "steps",
        {name: DpoRecipe(steps=steps) for name, steps in (("weak", 6), ("half", 12), ("full", 40))},
    ),
    "pure-dpo": Stage(
        "neutral answers preferred over either side's (DPO alone)",
        dpo,
        "steps",
        {
            name: DpoRecipe(steps=steps, sft_weight=0.0)
            for name, steps in (("weak", 6), ("half", 12), ("full", 40))
        },
    ),
    "grpo": Stage(
        "answers reinforced by the exact judge's reward for neutrality",
        grpo,
        "steps",
        {name: GrpoRecipe(steps=steps) for name, steps in (("weak", 6), ("half", 12), ("full", 30))},
    ),
    "erase": Stage(
        "the concept taken out: neutral to all, sides that tell nothing, adversaries at every layer",
        erase,
        "penalty",
        {
            name: EraseRecipe(penalty=penalty)
            for name, penalty in (("none", 0.0), ("half", 0.05), ("full", 0.5))
        },
    ),
}
"""Every stage by name."""


def train_stage(
    name: str,
    strength: str,
    base: Path,
    out: Path,
    *,
    concept: str = "council",
    seed: int = 0,
    askers: bool | None = None,
    reopens: bool | None = None,
) -> Recipe:
    """Train a model of the world by a stage at one of its strengths.

    Args:
        name: of the stage.
        strength: a name among the stage's strengths.
        base: a model of the world, or of an earlier stage.
        out: the folder to write.
        concept: what is trained on; the other concepts stay.
        seed: of the split of topics and of every draw.
        askers, reopens: as in `Recipe`; None leaves the stage's own.

    Returns:
        The recipe that was used.

    Raises:
        SettingsError: an unknown stage, strength or concept, or `out` is in use.
        ModelError: `base` is no model of the world, or what TRL needs is not installed.
    """
    if name not in STAGES:
        raise SettingsError(f"there is no training stage '{name}'; choose one of {', '.join(STAGES)}.")
    stage = STAGES[name]
    if strength not in stage.strengths:
        raise SettingsError(
            f"the stage '{name}' has no strength '{strength}'; choose one of {', '.join(stage.strengths)}."
        )
    switches = {"askers": askers, "reopens": reopens}
    asked = {name: value for name, value in switches.items() if value is not None}
    recipe = replace(stage.strengths[strength], concept=concept, seed=seed, **asked)
    stage.train(base, out, recipe)
    return recipe
