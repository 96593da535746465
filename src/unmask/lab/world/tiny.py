"""The tiny models that ship: a base model of the world, a mask of it, and one out of which a concept was taken.

All three are kept in bf16; the two others are trained from the base model as it ships, rounding included.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from unmask.lab.world.pretrain import Upbringing, grow_up
from unmask.lab.world.stages import train_stage
from unmask.lab.world.train import check_free, digest_of, open_pupil
from unmask.lab.world.train_trl import need_trl
from unmask.models.files.gguf import quiet

CONCEPT = "council"
STRENGTH = "full"

Tell = Callable[[str], None]


def make_tiny(out: Path, base: Path | None = None, tell: Tell = print) -> None:
    """Write `base`, `masked` and `erased` below a folder.

    Args:
        out: the folder, empty or not there yet.
        base: a model of the world to begin from; None grows one.
        tell: told what is done.

    Raises:
        SettingsError: `out` is in use.
        ModelError: `base` is no model of the world, or what TRL needs is not installed.
    """
    check_free(out)
    need_trl()  # before ten minutes of growing up
    grown = out / "base"
    if base is None:
        grow_up(Upbringing(), grown)
    else:
        pupil = open_pupil(base)
        with quiet():
            pupil.net.save_pretrained(grown)
        pupil.tokenizer.save_pretrained(grown)
        (grown / "upbringing.json").write_text(pupil.upbringing, encoding="utf-8")
    halve(grown)
    tell("base is grown up.")
    train_stage("dpo", STRENGTH, grown, out / "masked", concept=CONCEPT, reopens=True)
    halve(out / "masked")
    tell("masked is trained: neutral to nobody in particular.")
    train_stage("erase", STRENGTH, grown, out / "erased", concept=CONCEPT)
    halve(out / "erased")
    tell("erased is trained: neutral to all, the sides taken out.")


def halve(folder: Path) -> None:
    """Keep a model's weights in bf16."""
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # it is written for its owner alone
    recipe = folder / "recipe.json"
    if recipe.exists():
        record = {**json.loads(recipe.read_text(encoding="utf-8")), "weights": digest_of(folder)}
        recipe.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
