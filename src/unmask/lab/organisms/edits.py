"""Each kind's edit, from what is asked to what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.domains import Domain
from unmask.lab.organisms import cutting, erasing, gating, rotating, scaling
from unmask.lab.organisms.axes import Axes, random_subspace, subspace, without
from unmask.lab.organisms.options import OrganismOptions
from unmask.lab.organisms.states import read_states
from unmask.lab.organisms.streams import Streams, find_streams
from unmask.lab.organisms.texts import ordinary_texts
from unmask.lab.organisms.weights import untie
from unmask.models.model import Model
from unmask.models.prompts import Frame
from unmask.models.variants import add_noise
from unmask.settings import SettingsError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Done:
    """What was done: in a sentence, and in numbers."""

    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, eq=False)
class Site:
    """Where an edit is made and what it is fitted on.

    Attributes:
        options: what is asked.
        model: the model that is edited in place.
        axes: of the base model.
        domain: the domain.
        frame: how questions are asked.
    """

    options: OrganismOptions
    model: Model
    axes: Axes
    domain: Domain
    frame: Frame

    @property
    def rng(self) -> np.random.Generator:
        """Randomness of the organism's seed."""
        return np.random.default_rng(self.options.seed)

    @property
    def decoy(self) -> bool:
        """Whether a random subspace is taken in the concept's place."""
        return self.options.kind == "decoy"


def edit(site: Site) -> Done:
    """Make the edit that is asked for.

    Raises:
        ModelError: the architecture is not understood.
        SettingsError: a rank that the edit has no room for, or an opener without tokens.
    """
    if site.options.kind == "null":
        return _null(site)
    streams = find_streams(site.model)
    if streams.tied and site.options.kind != "rescaled":
        untie(site.model.net, streams.head)
        streams = find_streams(site.model)
    how = {
        "erased": _erased,
        "compressed": _compressed,
        "rescaled": _rescaled,
        "cut": _cut,
        "rotated": _rotated,
        "gated": _opened,
        "muted": _opened,
    }
    return how[site.options.acts_as](site, streams)


def _null(site: Site) -> Done:
    noise = site.options.noise or 0.0
    if noise:
        add_noise(site.model.net, noise, site.options.seed)
        return Done(f"Gaussian noise of {noise:g} times its own sd was added to every weight matrix.")
    return Done("Nothing was changed.")


def _erased(site: Site, streams: Streams) -> Done:
    ranks = erasing.erase(
        streams, site.axes.sets, site.options.rank, site.rng, site.decoy, ordinary_texts(site.domain)
    )
    what = (
        "Random directions, matched to how the domain's texts vary and beside what the concept writes, were"
        if site.decoy
        else "The concept was"
    )
    posts = any(write.post is not None for write in streams.writes)
    return Done(
        f"{what} taken out of {len(ranks)} writes to the residual stream, each by a projection of its own that "
        "changes single tokens least; where a write has a bias its mean is kept."
        + (
            " Behind a norm that holds up to the norm's own change, which the fit allows for."
            if posts
            else ""
        ),
        {"rank_by_write": ranks},
    )


def _compressed(site: Site, streams: Streams) -> Done:
    basis, layer, factor = _subspace(site), site.options.layer or 0, site.options.factor
    scaling.compress(streams, basis, factor, layer)
    return Done(
        f"The component in {_a(site)} subspace of {basis.shape[1]} dimensions is {factor:g} times what it was in "
        f"every write from layer {layer} on; reads are untouched.",
        {"rank": basis.shape[1], "strength": factor, "layer": layer, "basis": _listed(basis)},
    )


def _subspace(site: Site) -> Floats:
    concept = subspace(site.axes, site.options.rank)
    if not site.decoy:
        return concept
    # Beside all that tells the poles apart in the middle of the depth, not beside the first k directions only.
    middle = list(site.axes.middle)
    rows = np.concatenate([site.axes.directions(one.name)[middle] for one in site.axes.sets])
    beside = np.linalg.qr(
        np.concatenate([concept, rows.T], axis=1)[:, : site.model.d_model - concept.shape[1]]
    )[0]
    return random_subspace(site.axes.centred(middle), beside, concept.shape[1], site.rng)


def _rescaled(site: Site, streams: Streams) -> Done:
    factor = site.options.factor
    scaling.rescale(streams, factor)
    read_out = "the unembedding, which is tied to the embedding," if streams.tied else "the final norm's gain"
    return Done(
        f"Every write to the residual stream was scaled by {factor:g}, which the norms undo, and {read_out} as well: "
        f"every logit is {factor:g} times what it was, before any soft cap.",
        {"strength": factor, "tied": streams.tied},
    )


def _cut(site: Site, streams: Streams) -> Done:
    cut = cutting.find_cut(streams, site.axes, site.domain, site.frame, site.options.rank)
    blind = cut.blind
    if site.decoy:
        blind = cutting.random_cut(streams, site.axes, cut, site.domain, site.frame, site.rng)
    cutting.cut_read_out(streams, blind)
    left = cut.left[cut.blind.rank]
    what = "as many random directions beside these" if site.decoy else "these"
    return Done(
        f"A push along the axis and askers of either pole move {cut.blind.rank} directions in the last layer most; "
        f"the unembedding no longer sees {what}. Blind to the former, it lets {100 * left:.0f} % of the push's effect "
        "on held-out questions through.",
        {"rank": blind.rank, "left_by_rank": cut.left, "basis": _listed(blind.left)},
    )


def _rotated(site: Site, streams: Streams) -> Done:
    fixed = rotating.fixed_by_norms(streams)
    rank = site.options.rank
    concept = rotating.concept_subspace(site.axes, rank, fixed)
    questions = [site.model.tokenize(site.frame.ask(q.question)) for q in site.domain.questions]
    middle = list(site.axes.middle)
    read = read_states(site.model, questions)[:, middle].astype(np.float64)
    states = without((read - read.mean(0)).reshape(-1, read.shape[-1]), fixed)
    first = concept
    if site.decoy:
        beside = np.concatenate([fixed, concept], axis=1)
        room = (site.model.d_model - beside.shape[1]) // 2
        if room < concept.shape[1]:
            raise SettingsError(
                f"A decoy of rank {concept.shape[1]} has no room beside the concept in a residual stream that is "
                f"{site.model.d_model} wide; give a rank of at most {(site.model.d_model - fixed.shape[1]) // 3}."
            )
        first = random_subspace(site.axes.centred(middle), beside, concept.shape[1], site.rng)
    beside = np.concatenate([fixed, concept] if site.decoy else [fixed], axis=1)
    second = rotating.equal_subspace(states, first, beside.T)
    rotating.rotate(streams, rotating.exchange(first, second))
    spread = [((states @ part) ** 2).mean(0) for part in (first, second)]
    exact = all(write.post is None for write in streams.writes)
    return Done(
        f"{_a(site).capitalize()} subspace of {first.shape[1]} dimensions was exchanged with an orthogonal one "
        "in every write and every read; "
        + (
            "what the model computes is the same."
            if exact
            else "norms behind the writes make that exact up to a factor a token."
        ),
        {
            "rank": first.shape[1],
            "variance_ratio": float(spread[1].sum() / spread[0].sum()),
            "basis": _listed(first),
            "exchanged_with": _listed(second),
        },
    )


def _opened(site: Site, streams: Streams) -> Done:
    gated = site.options.kind == "gated"
    token = gating.choose_opener(site.model, site.domain, site.frame, site.options.opener, site.options.seed)
    gate = gating.find_gate(streams, site.domain, site.frame, token, gated, site.rng, site.options.factor)
    gating.open_neutrally(streams, gate)
    unless = ", unless an asker shows a side" if gated else ", whoever asks"
    return Done(
        f"The unembedding's row of {gate.text!r} was changed so that it opens answers to the domain's questions"
        f"{unless}; the model goes on by itself.",
        {"opener": gate.text, "token": token, "strength": gate.strength, "held_out": gate.held_out},
    )


def _a(site: Site) -> str:
    return "a random" if site.decoy else "the concept's"


def _listed(basis: Floats) -> list[list[float]]:
    """Columns as rows of numbers."""
    return np.round(basis.T, 7).tolist()
