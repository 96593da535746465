"""Builds an organism: load, edit, save, load again, verify, write the card."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.domains import Domain, load_domain
from unmask.lab.organisms.axes import Axes
from unmask.lab.organisms.card import Card
from unmask.lab.organisms.edits import Site, edit
from unmask.lab.organisms.expected import expect
from unmask.lab.organisms.openers import opened
from unmask.lab.organisms.options import OrganismOptions, check_options, check_shape
from unmask.lab.organisms.texts import Format, formats, halves
from unmask.lab.organisms.verify import Subject, transfer_auc, verify
from unmask.models.errors import ModelError
from unmask.models.files.gguf import quiet
from unmask.models.load import load_model, model_shape
from unmask.models.model import Model
from unmask.models.prompts import Frame, check_same_tokens, choose_frame
from unmask.models.references import Resolved, resolve


def build_organism(options: OrganismOptions) -> Card:
    """Build an organism and say what it is.

    `options.out` becomes an ordinary transformers folder in fp32 with `card.json` in it; it appears whole or not at
    all.

    Raises:
        SettingsError: what is asked does not exist or does not fit; see `check_options` and `check_shape`.
        DomainError: there is no such domain, or it is not sound.
        ModelError: a model cannot be loaded, the two do not go together, or the weights cannot be edited exactly.
    """
    check_options(options)
    domain = load_domain(options.domain)
    found_base, found = resolve(options.base), resolve(options.edited)
    check_shape(options, *model_shape(found))
    if model_shape(found_base) != model_shape(found):
        raise ModelError(
            f"{options.base} and {options.edited} have different shapes; the model that is edited must be base or made "
            "from it."
        )
    base = load_model(found_base, device="cpu", dtype="float32")
    before = base if found == found_base else load_model(found, device="cpu", dtype="float32")
    if not check_same_tokens(base.tokenizer, before.tokenizer).same:
        raise ModelError(
            f"{options.base} and {options.edited} split text differently; give models of one tokenizer."
        )
    if getattr(before.net.config, "quantization_config", None):
        raise ModelError(f"The weights of {options.edited} are quantised; give the model in full precision.")
    frame = choose_frame(base.tokenizer, before.tokenizer)
    sets = formats(domain)
    subject = Subject(base, Axes.of(base, sets))
    if not np.any(subject.axes.directions("statements")[list(subject.axes.middle)]):
        raise ModelError(
            f"{options.base} has the same states for both poles' statements of {domain.name}; give a model whose "
            "tokenizer knows the domain's words."
        )
    edited = subject if before is base else Subject(before, Axes.of(before, sets))
    organism = duplicate(before, "organism")
    done = edit(Site(options, organism, subject.axes, domain, frame))
    half = options.out.parent / f".{options.out.name}.half"
    shutil.rmtree(half, ignore_errors=True)
    try:
        _save(organism, found, half)
        saved = load_model(str(half.resolve()), device="cpu", dtype="float32")
        verified = verify(subject, edited, Subject(saved, Axes.of(saved, sets)), domain, frame, options.seed)
        if "token" in done.details:
            verified["opener"] = opened(
                edited.model, saved, domain, frame, done.details["token"], options.seed
            )
        if options.kind == "erased":
            verified["held_out"] = _held_out(options, edited.model, sets, domain, frame, verified["layer"])
        card = Card(
            kind=options.kind,
            base=options.base,
            on=options.edited,
            identities={"base": base.identity, "on": before.identity},
            domain=domain.name,
            digest=domain.digest,
            options=options.record(),
            done=done.sentence,
            details=done.details,
            expected=expect(options, verified),
            verified=verified,
        )
        card.write(half)
        if options.out.is_dir():
            options.out.rmdir()  # it is empty
        os.rename(half, options.out)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return card


def duplicate(model: Model, name: str) -> Model:
    """The same model with weights of its own."""
    return Model(copy.deepcopy(model.net), model.tokenizer, name, model.identity)


def _save(model: Model, found: Resolved, folder: Path) -> None:
    from transformers import GenerationConfig

    net: Any = model.net
    if (
        found.folder / "generation_config.json"
    ).is_file():  # loading took the model's own sampling habits away
        net.generation_config = GenerationConfig.from_pretrained(found.folder)
    net.config.dtype = torch.float32
    with quiet():
        net.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)


def _held_out(
    options: OrganismOptions,
    model: Model,
    sets: tuple[Format, ...],
    domain: Domain,
    frame: Frame,
    layer: object,
) -> dict[str, float]:
    """Transfer AUC on one half of topics and persons, before and after an erasure fitted on the other half."""
    fitted, told = halves(sets, np.random.default_rng(options.seed))
    copied = duplicate(model, "half")
    edit(Site(options, copied, Axes.of(copied, fitted), domain, frame))
    at = int(str(layer))
    before, after = (Axes.of(one, told) for one in (model, copied))
    return {
        "before": transfer_auc(before, before, at)["mean"],
        "after": transfer_auc(after, after, at)["mean"],
    }
