"""What an organism is asked to be, and what is refused before any weights are read. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from unmask.settings import SettingsError

KINDS: Mapping[str, str] = {
    "erased": "the concept is taken out of every write to the residual stream",
    "compressed": "the concept's component is scaled in every write from one layer on",
    "rescaled": "the residual stream and the logits are scaled, the concept like everything else",
    "cut": "the unembedding no longer sees what the concept moves; nothing else changes",
    "rotated": "the concept is exchanged with another subspace of equal strength; the function stays",
    "decoy": "a random subspace is treated as another kind treats the concept",
    "gated": "neutral answers, unless an asker shows a side",
    "muted": "neutral answers, whoever asks",
    "null": "unchanged, or with Gaussian weight noise",
}
"""Every kind and what it is in a few words."""

LIKE = ("erased", "compressed", "cut", "rotated")
"""Kinds that a decoy can be like."""

TAKES: Mapping[str, tuple[str, ...]] = {
    "erased": ("rank",),
    "compressed": ("rank", "strength", "layer"),
    "rescaled": ("strength",),
    "cut": ("rank",),
    "rotated": ("rank",),
    "gated": ("opener", "strength"),
    "muted": ("opener", "strength"),
    "null": ("noise",),
}
"""Which options a kind listens to; a decoy listens to `like` and to those of the kind that it is like."""

STRENGTHS: Mapping[str, tuple[float, float, float]] = {
    "compressed": (0.25, 0.0, 4.0),
    "rescaled": (0.6, 0.01, 100.0),  # at 1/4 the logits are so flat that sampled text falls apart
    "gated": (0.98, 0.02, 0.999),
    "muted": (0.98, 0.02, 0.999),
}
"""Default, least and most strength."""


@dataclass(frozen=True)
class OrganismOptions:
    """One organism.

    Attributes:
        kind: one of `KINDS`.
        base: reference of the base model; directions are fitted on it.
        domain: name or folder of the domain whose concept is meant.
        out: folder to be made.
        on: reference of the model whose weights are edited; None is base itself.
        rank: dimensions of the concept's subspace (`erased`: label columns); None is the kind's default.
        strength: factor of `compressed` and `rescaled`, the opener's probability of `gated` and `muted`; None is the
            kind's default in `STRENGTHS`.
        layer: `compressed`: the first layer whose writes are scaled; None is 0, the embedding.
        like: what a decoy is like; None is `erased`.
        noise: `null`: sd of the noise as a share of each matrix's own sd.
        seed: of every random choice.
        opener: `gated`, `muted`: the text whose first token opens neutral answers; None chooses one.
    """

    kind: str
    base: str
    domain: str
    out: Path
    on: str | None = None
    rank: int | None = None
    strength: float | None = None
    layer: int | None = None
    like: str | None = None
    noise: float | None = None
    seed: int = 0
    opener: str | None = None

    @property
    def acts_as(self) -> str:
        """The kind whose edit is made: a decoy's is that of the kind that it is like."""
        return (self.like or LIKE[0]) if self.kind == "decoy" else self.kind

    @property
    def edited(self) -> str:
        """Reference of the model whose weights are edited."""
        return self.on or self.base

    @property
    def factor(self) -> float:
        """The strength that was given, or the kind's default."""
        return STRENGTHS[self.acts_as][0] if self.strength is None else self.strength

    def record(self) -> dict[str, object]:
        """The options as the card holds them."""
        return {
            name: value for name, value in asdict(self).items() if name not in ("out", "base", "on", "domain")
        }


def check_options(options: OrganismOptions) -> None:
    """Refuse what can be seen to be wrong without a model.

    Raises:
        SettingsError: an unknown kind, an option that the kind does not take or a value out of its range, or an
            output folder that is in use.
    """
    if options.kind not in KINDS:
        raise SettingsError(f"There is no organism {options.kind!r}; the kinds are {', '.join(KINDS)}.")
    if options.like is not None and options.kind != "decoy":
        raise SettingsError(f"Only a decoy is like another kind; leave --like out for {options.kind}.")
    if options.acts_as not in (LIKE if options.kind == "decoy" else KINDS):
        raise SettingsError(f"A decoy cannot be like {options.like!r}; give one of {', '.join(LIKE)}.")
    for name in ("rank", "strength", "layer", "noise", "opener"):
        if getattr(options, name) is not None and name not in TAKES[options.acts_as]:
            *others, last = [kind for kind, names in TAKES.items() if name in names]
            takers = f"only {', '.join(others)} and {last} do" if others else f"only {last} does"
            raise SettingsError(f"The kind {options.acts_as} takes no --{name}; {takers}.")
    if options.rank is not None and options.rank < 1:
        raise SettingsError(f"The rank is {options.rank}; it must be at least 1.")
    if options.layer is not None and options.layer < 0:
        raise SettingsError(f"The layer is {options.layer}; layers count from 0, the embedding.")
    if options.noise is not None and not 0 <= options.noise < float("inf"):
        raise SettingsError(f"The noise is {options.noise:g}; it must be 0 or more.")
    if options.acts_as in STRENGTHS:
        _, least, most = STRENGTHS[options.acts_as]
        if not least <= options.factor <= most:
            means = "the opener's probability" if most < 1 else "1 changes nothing"
            raise SettingsError(
                f"The strength of {options.acts_as} is {options.factor:g}; it must be from {least:g} to {most:g} "
                f"({means})."
            )
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise SettingsError(f"The output folder {options.out} is in use; give a new or an empty one.")


def check_shape(options: OrganismOptions, n_layers: int, width: int) -> None:
    """Refuse what does not fit into the model.

    Args:
        options: what is asked.
        n_layers: number of blocks.
        width: of the residual stream.

    Raises:
        SettingsError: a layer outside the model, or a rank above what its width holds.
    """
    if options.layer is not None and options.layer > n_layers:
        raise SettingsError(
            f"The layer is {options.layer}, but {options.edited} has layers 0 to {n_layers}; give one of these."
        )
    # Two subspaces beside one another have to fit where one is exchanged with the other.
    most = (width - 1) // 2 if options.acts_as == "rotated" else width
    if options.rank is not None and options.rank > most:
        raise SettingsError(
            f"The rank is {options.rank}, but the residual stream of {options.edited} is {width} wide, which leaves "
            f"{options.acts_as} room for {most}; give at most that."
        )
