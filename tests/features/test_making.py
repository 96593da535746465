"""From models and a corpus to a folder, by the command; and what stops it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import Command
from models.tiny import TEXTS

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.crosscoder import Crosscoder
from unmask.features.formats import open_dictionary
from unmask.features.training.trainer import Step, Trainer

WORDS = sorted({word for text in TEXTS for word in text.split()})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    texts = [" ".join(draw.choices(WORDS, k=40)) for _ in range(60)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def unmask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def words(texts: Path, folder: Path, **more: object) -> list[str]:
    """Options of `train`, small."""
    options: dict[str, object] = {
        "layer": 2,
        "corpus": texts,
        "out": folder,
        "dtype": "float32",
        "device": "cpu",
    }
    options |= {"width": 96, "k": 8, "tokens": 6000, "batch": 256, "rate": 2e-3, **more}
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def test_trained_by_the_command_and_read_back(
    unmask: Command, tiny: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    model, out = str(tiny("llama")), tmp_path / "sae"
    mine = out / "activations" / "mine.npy"
    mine.parent.mkdir(parents=True)
    mine.touch()
    code, said, err = unmask("features", "train", model, *words(corpus, out))
    assert (code, err) == (0, "")
    assert "of held-out variance is left" in said
    sae = open_dictionary(str(out))
    assert isinstance(sae, SparseAutoencoder)
    held_out = sae.facts["held_out"][0]
    assert held_out["fvu"] < 0.6
    assert sae.facts["layer"] == 2
    assert json.loads((out / "cfg.json").read_text())["metadata"]["hook_name"] == "blocks.1.hook_resid_post"
    kept = sorted(path.name for path in out.rglob("*") if path.is_file() and not path.name.startswith("."))
    assert kept == ["cfg.json", "mine.npy", "sae_weights.safetensors"]  # what was made on the way is gone

    code, said, err = unmask(
        "features", "eval", out, model, "--corpus", corpus, "--json", "--dtype", "float32"
    )
    (fit,) = json.loads(said).values()
    assert code == 0
    assert fit["fvu"] == pytest.approx(held_out["fvu"], abs=0.15)  # of all texts, and not those held out
    assert fit["l0"] == pytest.approx(8, abs=0.2)

    code, said, err = unmask("features", "top", out, model, "--corpus", corpus, "--json", "--n", 3)
    found = json.loads(said)
    assert code == 0
    assert len(found) == 10
    for firing in found.values():
        for context in firing["contexts"]:
            assert max(context["codes"]) > 0
            assert len(context["tokens"]) == len(context["codes"])
    assert unmask("features", "top", out, model, 3, 5, "--corpus", corpus)[0] == 0

    assert "holds a finished dictionary" in unmask.refused("features", "train", model, *words(corpus, out))


def test_of_two_models_and_resumed_to_the_same_bits(
    unmask: Command,
    tiny: Callable[[str], Path],
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models = [str(tiny("llama"))] * 2
    code, said, _ = unmask("features", "train", *models, *words(corpus, tmp_path / "both", kind="batchtopk"))
    assert code == 0
    assert said.count("of held-out variance is left") == 2
    train = Trainer.train

    def stopping(self: Trainer, batch: torch.Tensor) -> Step:
        if self.step == 10:
            raise KeyboardInterrupt
        return train(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", stopping)
        code, _, err = unmask(
            "features", "train", *models, *words(corpus, tmp_path / "cut", kind="batchtopk")
        )
    assert code == 3
    assert "to go on: unmask features train" in err
    assert (
        unmask("features", "train", *models, *words(corpus, tmp_path / "cut", kind="batchtopk", seed=0))[0]
        == 0
    )
    whole, resumed = (open_dictionary(str(tmp_path / name)) for name in ("both", "cut"))
    assert torch.equal(whole.decoder, resumed.decoder)


def test_a_crosscoder_reads_both_models_at_once(
    unmask: Command, tiny: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    models, out = [str(tiny("llama"))] * 2, tmp_path / "crosscoder"
    assert unmask("features", "train", *models, *words(corpus, out, kind="crosscoder"))[0] == 0
    crosscoder = open_dictionary(str(out))
    assert isinstance(crosscoder, Crosscoder)
    assert crosscoder.facts["held_out"][0]["fvu"] < 0.6
    assert torch.allclose(crosscoder.relative_norms, torch.tensor(0.5), atol=0.05)  # of a model and itself

    code, said, _ = unmask(
        "features", "eval", out, *models, "--corpus", corpus, "--json", "--dtype", "float32"
    )
    found = json.loads(said)
    assert code == 0
    assert [fit["model"] for fit in found["models"]] == models
    for fit, held_out in zip(found["models"], crosscoder.facts["held_out"], strict=True):
        assert fit["fvu"] == pytest.approx(held_out["fvu"], abs=0.15)  # of all texts, and not those held out
        assert fit["l0"] == pytest.approx(8, abs=0.5)
    assert sum(found["latents"].values()) == 96
    assert found["latents"]["shared"] > 80
    code, said, _ = unmask("features", "eval", out, *models, "--corpus", corpus)
    assert code == 0
    assert "aligned-only" in said

    for few_or_many in (models[:1], [*models, models[0]]):
        line = unmask.refused("features", "eval", out, *few_or_many, "--corpus", corpus)
        assert "is a crosscoder, which reads two models at once; give base and aligned" in line
    assert "give an autoencoder" in unmask.refused("features", "top", out, models[0], "--corpus", corpus)
    config = json.loads((out / "cfg.json").read_text())
    del config["metadata"]["layer"]
    (out / "cfg.json").write_text(json.dumps(config))
    line = unmask.refused("features", "eval", out, *models, "--corpus", corpus)
    assert "does not say which layer it reads; name it with --layer" in line
    line = unmask.refused("features", "eval", out, *models, "--corpus", corpus, "--layer", 9)
    assert "The crosscoder is of layer 9, but" in line
    assert "reads two models" in unmask.refused(
        "features", "train", models[0], *words(corpus, tmp_path / "one", kind="crosscoder")
    )


def test_what_a_user_got_wrong_is_one_line(
    unmask: Command, tiny: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    model, out = str(tiny("llama")), tmp_path / "out"

    def refused(**more: object) -> str:
        return unmask.refused("features", "train", model, *words(corpus, out, **more))

    assert "too few for 100,000 latents" in refused(width=100_000)
    assert "has layers 0 to 3; layer 7 was asked for" in refused(layer=7)
    assert "no kind of dictionary 'l1'" in refused(kind="l1")
    assert "k must be at least 1" in refused(k=96)
    assert "the seed is -1" in refused(seed=-1)
    assert "rate is nan" in refused(rate="nan")
    assert "no dtype 'int8'" in refused(stored="int8")
    assert "missing.txt" in refused(corpus=tmp_path / "missing.txt")
    assert "does not exist" in unmask.refused(
        "features", "eval", tmp_path / "none", model, "--corpus", corpus
    )
    assert unmask("features", "train", model, *words(corpus, out))[0] == 0
    other = str(tiny("gpt2"))
    assert "There is no latent 96" in unmask.refused("features", "top", out, model, 96, "--corpus", corpus)
    assert (
        unmask("features", "eval", out, other, "--corpus", corpus)[0] == 0
    )  # of the same width: fit says the rest
