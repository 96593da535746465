"""Training from shards: it stops and goes on to the same bits, and refuses what it cannot go on with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from features.planted import Planted
from torch import Tensor

from unmask.features.errors import DictionaryError
from unmask.features.training.fit import fit
from unmask.features.training.recipe import KINDS, Kind, Recipe
from unmask.features.training.trainer import Step, Trainer


@dataclass(frozen=True)
class Part:
    states: Tensor


@dataclass(frozen=True)
class PlantedStream:
    """A stream of planted activations, three shards of unlike size."""

    digest: str = "planted"
    sizes: tuple[int, ...] = (700, 400, 650)

    @property
    def tokens(self) -> int:
        return sum(self.sizes)

    @property
    def n_shards(self) -> int:
        return len(self.sizes)

    def shard(self, i: int) -> Part:
        draws = torch.Generator().manual_seed(i)
        return Part(Planted.drawn(64, 32).tokens(self.sizes[i], draws)[:, None])


def recipe(kind: Kind = "topk") -> Recipe:
    return Recipe(width=96, k=8, kind=kind, tokens=5_000, batch=100, rate=1e-3, dead_after=300)


class Killed(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [3, 20, 37])
def test_training_that_stopped_goes_on_to_the_same_bits(kind: Kind, at: int, tmp_path: Path) -> None:
    steps: list[Step] = []
    whole = fit(recipe(kind), PlantedStream(), tmp_path / "whole", steps.append)

    def stop(step: Step) -> None:
        if step.step == at:
            raise Killed

    with pytest.raises(Killed):
        fit(recipe(kind), PlantedStream(), tmp_path / "stopped", stop)
    resumed = fit(recipe(kind), PlantedStream(), tmp_path / "stopped")
    assert whole.step == resumed.step == recipe(kind).steps == len(steps)
    assert all(torch.equal(value, resumed.state()[name]) for name, value in whole.state().items())
    assert steps[-1].fvu < 0.8 * steps[0].fvu
    done = fit(recipe(kind), PlantedStream(), tmp_path / "stopped", stop)  # nothing is left to do
    assert torch.equal(done.coder.encoder, resumed.coder.encoder)


def test_every_pass_mixes_the_tokens_otherwise_and_leaves_few_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    train = Trainer.train

    def noting(self: Trainer, batch: Tensor) -> Step:
        seen.append(batch[:, 0, 0])
        return train(self, batch)

    monkeypatch.setattr(Trainer, "train", noting)
    fit(replace(recipe(), tokens=3_400), PlantedStream(), tmp_path / "checkpoint")
    first, second = torch.cat(seen[:17]), torch.cat(seen[17:])
    assert len(first.unique()) == len(second.unique()) == 1_700  # of 1,750
    assert not torch.equal(first, second)


def test_a_checkpoint_of_other_training_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    fit(recipe(), PlantedStream(), path)
    with pytest.raises(DictionaryError, match=r"begun otherwise \(k\)"):
        fit(replace(recipe(), k=9), PlantedStream(), path)
    with pytest.raises(DictionaryError, match=r"the models, the layer, the window or the corpus"):
        fit(recipe(), PlantedStream("another"), path)
    whole = path.read_bytes()
    for damaged in (whole[:500], whole[:-700] + bytes([whole[-700] ^ 1]) + whole[-699:], b""):
        path.write_bytes(damaged)
        with pytest.raises(DictionaryError, match=r"is damaged; remove it"):
            fit(recipe(), PlantedStream(), path)


def test_few_tokens_left_over_are_no_batch_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    train = Trainer.train

    def noting(self: Trainer, batch: Tensor) -> Step:
        sizes.append(len(batch))
        return train(self, batch)

    monkeypatch.setattr(Trainer, "train", noting)
    wide = replace(recipe(), batch=500, tokens=3_000)
    fit(wide, PlantedStream(sizes=(700, 30, 450)), tmp_path / "one")
    assert {*sizes} == {500, 450}
    sizes.clear()
    fit(wide, PlantedStream(sizes=(200, 210, 190, 205)), tmp_path / "two")  # shards all smaller than a batch
    assert {*sizes} == {200, 210, 190, 205}
    with pytest.raises(DictionaryError, match="fewer than a batch of 500"):
        fit(wide, PlantedStream(sizes=(200, 250)), tmp_path / "three")


def test_a_corpus_too_small_for_the_width_says_how_small(tmp_path: Path) -> None:
    with pytest.raises(
        DictionaryError, match=r"1,750 tokens.* 500 latents.* at least 2,000 .* at most 437 latents"
    ):
        fit(replace(recipe(), width=500), PlantedStream(), tmp_path / "checkpoint")
