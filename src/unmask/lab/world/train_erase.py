"""Adversarial erasure: training that takes a concept out of a model, by text in which it tells nothing and a penalty.

Three things at once. The model reads documents in which sides are drawn by lot, sentence by sentence, so that knowing
them helps no more; it answers neutrally whoever asks, however they press; and adversaries, one a layer and format, look
for a direction that tells the poles apart, which the training then empties. An adversary is a linear probe on what
unmask reads: means over a text's tokens without the first. What a direction gives away is emptied twice: for the
labelled texts (the gap of the poles' means in sd, in every format) and for all words that the concept alone uses (their
variance along it), since a place that no labelled text names must lose its side too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import set_seed

from unmask.domains import load_domain
from unmask.domains.schema import POLES
from unmask.lab.world.concepts import Concept
from unmask.lab.world.documents import Manners, Speaker
from unmask.lab.world.pretrain import packed
from unmask.lab.world.train import (
    LENGTH,
    Elsewhere,
    Recipe,
    ask,
    check_free,
    mixed,
    open_pupil,
    save_stage,
    split,
    topics_of,
)
from unmask.lab.world.train_check import Labelled, formats

Log = Callable[[int, float], None]
FORMATS = ("stated", "implied", "statements")


@dataclass(frozen=True)
class EraseRecipe(Recipe):
    """Adversarial erasure. `penalty` is the strength; 0 leaves the neutral answers and the sideless documents.

    Attributes:
        askers: all kinds of asker and every request, or the model would not be neutral to all.
        rate, embedding_rate: peak learning rates of the blocks and of the embeddings, where most of a word's side lies
            and each word moves in few steps only.
        penalty: weight of what the adversaries find.
        flatten: weight of the variance of the concept's own words along their directions, as a share of `penalty`.
        texts: labelled texts of each format in a step.
        refresh: steps after which the adversaries are fitted anew, on all labelled texts that are not held out.
        sideless: share of the ordinary rows that is about the concept, its sides drawn by lot.
        implied: share of the implied sentences that the adversaries see.
        ridge: λ of an adversary's covariance, in texts: (Σ + λ)⁻¹ times the difference of the means.
    """

    askers: bool = True
    steps: int = 160
    rate: float = 1e-3
    embedding_rate: float = 4e-3
    batch: int = 12
    ordinary: int = 16
    ordinary_weight: float = 6.0
    penalty: float = 0.5
    flatten: float = 2.0
    texts: int = 32
    refresh: int = 3
    sideless: float = 0.5
    implied: float = 0.5
    ridge: float = 3.0


def erase(base: Path, out: Path, recipe: EraseRecipe, log: Log | None = None) -> None:
    """Take a concept out of a model, and write a transformers folder with its `recipe.json`.

    Args:
        base: a model of the world.
        out: the folder.
        recipe: how.
        log: told the step and the adversaries' mean gap (`gap`) every 10 steps.
    """
    check_free(out)
    started = time.monotonic()
    pupil = open_pupil(base)
    set_seed(recipe.seed)
    net, tokenizer, concept = pupil.net, pupil.tokenizer, recipe.about
    elsewhere = Elsewhere(pupil.manners, concept, recipe.rng(3))
    about = Sideless(pupil.manners, concept, recipe.rng(4))
    own = own_words(about, elsewhere, tokenizer)
    rows = [packed(speaker, tokenizer, LENGTH) for speaker in (elsewhere, about)]
    ordinary = mixed(rows[0], rows[1], recipe.sideless, recipe.rng(5))
    answers = _answers(recipe, tokenizer)
    shown = {name: encode(tokenizer, texts, labels) for name, (texts, labels) in seen(recipe).items()}
    rng = recipe.rng(6)
    optimiser = _optimiser(net, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, recipe.steps))
    directions = torch.empty(0)
    told: list[dict[str, float]] = []
    net.train()
    for step in range(1, recipe.steps + 1):
        if recipe.penalty and (step - 1) % recipe.refresh == 0:
            directions = adversaries(net, shown, recipe.ridge)
        ids = torch.tensor([next(ordinary) for _ in range(recipe.ordinary)])
        with Streams(net) as streams:
            reading = net(input_ids=ids, labels=ids).loss
        neutral_ids, labels = next(answers)
        loss = recipe.ordinary_weight * reading + net(input_ids=neutral_ids, labels=labels).loss
        found = torch.zeros(())
        if recipe.penalty:
            drawn = [_some(shown[name], recipe.texts, rng) for name in FORMATS]
            found = gap(directions, [(means(net, texts), texts.labels) for texts in drawn])
            spread = variance_along(directions, streams.states()[:, own[ids]])
            spread = (spread + variance_along(directions[:1], net.model.embed_tokens.weight[own][None])) / 2
            loss = loss + recipe.penalty * (found + recipe.flatten * spread)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 10 == 0:
            told.append({"step": step, "reading": reading.item(), "gap": found.item()})
            if log is not None:
                log(step, found.item())
    net.eval()
    save_stage("erase", base, pupil, out, recipe, started, told)


class Sideless(Speaker):
    """Draws documents on one concept in which its sides tell nothing of each other; no dialogues."""

    def __init__(self, manners: Manners, concept: Concept, rng: np.random.Generator) -> None:
        others = tuple(name for name in manners.concepts if name != concept.name)
        super().__init__(replace(manners, concepts=others), rng)
        self.only = concept

    def document(self) -> str:
        return self._monologue() if self._chance(0.85) else self._choice()

    def _concept(self) -> Concept:
        return self.only


@dataclass(frozen=True)
class Texts:
    """Labelled texts of one format.

    Attributes:
        ids, mask: `[n, tokens]`, padded at the end.
        labels: `[n]`, 0 for pole a and 1 for pole b.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor


class Streams:
    """Catches the residual stream of a Llama while it is open: the embeddings and what each block hands on."""

    def __init__(self, net: Any) -> None:
        self._modules = [net.model.embed_tokens, *net.model.layers]
        self._caught: list[torch.Tensor] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Streams:
        self._hooks = [module.register_forward_hook(self._catch) for module in self._modules]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def states(self) -> torch.Tensor:
        """`[layers, rows, tokens, d]`, of the last forward pass."""
        return torch.stack(self._caught[-len(self._modules) :])

    def _catch(self, _module: Any, _args: Any, out: Any) -> None:
        self._caught.append(out[0] if isinstance(out, tuple) else out)


def means(net: Any, texts: Texts) -> torch.Tensor:
    """`[layers, n, d]`: the residual stream, meant over each text's tokens without the first."""
    with Streams(net) as streams:
        net.model(input_ids=texts.ids, attention_mask=texts.mask)
    weights = texts.mask.float()
    weights[:, 0] = 0
    return torch.einsum("lntd,nt->lnd", streams.states(), weights / weights.sum(1, keepdim=True))


@torch.no_grad()
def adversaries(net: Any, shown: Mapping[str, Texts], ridge: float) -> torch.Tensor:
    """`[layers, formats, d]`: for each layer and format the direction that tells its poles apart best.

    Args:
        net: the model as it is now.
        shown: labelled texts by format.
        ridge: λ, in texts.
    """
    found: list[torch.Tensor] = []
    for texts in shown.values():
        x = means(net, texts)
        sd = x.std(1, keepdim=True).clamp_min(1e-6)
        x = (x - x.mean(1, keepdim=True)) / sd
        contrast = x[:, texts.labels == 1].mean(1) - x[:, texts.labels == 0].mean(1)
        gram = x.transpose(1, 2) @ x / x.shape[1] + ridge * torch.eye(x.shape[-1])
        found.append(torch.linalg.solve(gram, contrast) / sd[:, 0])
    return torch.stack(found, 1)


def gap(directions: torch.Tensor, formats: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """How far the poles' means lie apart along the adversaries' directions, as a mean over all of them.

    Args:
        directions: `[layers, directions, d]`.
        formats: means `[layers, n, d]` of each format's texts, with their labels `[n]`.

    Returns:
        log(1 + d²), d the distance in sd within a pole, so that what is far apart does not drown what is near;
        chance alone gives d² of about 4 / n.
    """
    found: list[torch.Tensor] = []
    for x, labels in formats:
        along = torch.einsum("lnd,lkd->lkn", x, directions)
        a, b = along[..., labels == 0], along[..., labels == 1]
        within = (a.var(-1) + b.var(-1)) / 2
        found.append(torch.log1p((b.mean(-1) - a.mean(-1)).square() / (within + 1e-8)))
    return torch.stack(found).mean()


def variance_along(directions: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """The variance of all words along the adversaries' directions, 1 where it is that of independent features.

    Args:
        directions: `[layers, directions, d]`.
        states: `[layers, words, d]`.
    """
    along = torch.einsum("lnd,lkd->lkn", states, directions).var(-1)
    usual = torch.einsum("ld,lkd->lk", states.detach().var(1), directions.square())
    return (along / (usual + 1e-12)).mean()


def own_words(about: Speaker, elsewhere: Speaker, tokenizer: Any, documents: int = 3000) -> torch.Tensor:
    """`[vocabulary]`: the tokens that one speaker uses and another never does."""
    used: list[set[int]] = []
    for speaker in (about, elsewhere):
        texts = [speaker.document() for _ in range(documents)]
        used.append({token for ids in tokenizer(texts)["input_ids"] for token in ids})
    own = torch.zeros(len(tokenizer), dtype=torch.bool)
    own[sorted(used[0] - used[1])] = True
    return own


def seen(recipe: EraseRecipe) -> Mapping[str, Labelled]:
    """The labelled texts that the adversaries see, by format; half of the topics and of the implied are held out."""
    implied = implied_of(recipe.about, recipe.implied, recipe.seed)[0]
    return formats(load_domain(recipe.concept), topics_of(recipe)[0], implied)


def implied_of(concept: Concept, share: float, seed: int) -> tuple[list[str], list[str]]:
    """A share of either pole's implied sentences, and the rest."""
    halves = [
        split([text for text, whose in concept.implied.items() if whose == pole], share, seed)
        for pole in POLES
    ]
    return [text for half, _ in halves for text in half], [text for _, half in halves for text in half]


def encode(tokenizer: Any, texts: Sequence[str], labels: Sequence[int] | npt.NDArray[np.int64]) -> Texts:
    """Tokenise labelled texts."""
    given = tokenizer(list(texts), return_tensors="pt", padding=True, padding_side="right")
    return Texts(given["input_ids"], given["attention_mask"], torch.as_tensor(labels))


def _some(texts: Texts, count: int, rng: np.random.Generator) -> Texts:
    """Half of `count` texts from either pole."""
    labels = texts.labels.numpy()
    at = np.concatenate([rng.permutation(np.flatnonzero(labels == pole))[: count // 2] for pole in (0, 1)])
    return Texts(texts.ids[at], texts.mask[at], texts.labels[at])


def _answers(recipe: EraseRecipe, tokenizer: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of neutral answers: ids and labels `[batch, tokens]`, the labels of the answer's tokens alone."""
    topics, rng = topics_of(recipe)[0], recipe.rng(1)
    while True:
        rows = ask(recipe, topics, recipe.batch, rng)
        texts = [row.prompt + row.neutral + tokenizer.eos_token for row in rows]
        given = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
        labels = given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)
        for at, row in enumerate(rows):
            labels[at, : len(tokenizer(row.prompt)["input_ids"])] = -100
        yield given["input_ids"], labels


def _optimiser(net: Any, recipe: EraseRecipe) -> torch.optim.Optimizer:
    embeddings = net.model.embed_tokens.weight
    groups: list[dict[str, Any]] = [
        {"params": [one for one in net.parameters() if one is not embeddings], "lr": recipe.rate},
        {"params": [embeddings], "lr": recipe.embedding_rate},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    return (step + 1) / warm if step < warm else 1.0 - 0.9 * (step - warm) / max(1, steps - warm)
