"""Models with known features in their residual stream, from texts to findings: the command trains on their activations,
and what was planted is what comes back."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Command
from features.planted import Planted
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.deactivation import deactivation, floors
from unmask.features.decomposition import decompose
from unmask.features.formats import open_dictionary
from unmask.models import Frame, load_model
from unmask.models.model import Model

WORDS, LAYER = 60_000, 1
PLANTED = Planted.drawn()  # 512 features in 256 dimensions, 16 of them on a token
GONE = torch.randperm(512, generator=torch.Generator().manual_seed(3))[:60]


def grow(folder: Path, silent: bool) -> Path:
    """A model of words, each a sum of features, whose blocks add nothing; the aligned one lacks some features."""
    tokenizer = Tokenizer(models.WordLevel({f"w{word}": word for word in range(WORDS)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0", bos_token="w1", eos_token="w2")
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=256, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=128, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    net = LlamaForCausalLM(config)
    strengths = PLANTED.strengths(WORDS, torch.Generator().manual_seed(1))
    if silent:
        strengths[:, GONE] = 0
    with torch.no_grad():
        net.model.embed_tokens.weight.copy_(strengths @ PLANTED.features * PLANTED.size + PLANTED.offset)
        for block in net.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
    net.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def text(draw: random.Random, length: int) -> str:
    return " ".join(f"w{draw.randrange(3, WORDS)}" for _ in range(length))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    folder = tmp_path_factory.mktemp("planted")
    base, aligned = (
        load_model(str(grow(folder / name, name == "aligned")), "cpu", "float32")
        for name in ("base", "aligned")
    )
    return base, aligned


@pytest.fixture(scope="module")
def sae(
    pair: tuple[Model, Model],
    tmp_path_factory: pytest.TempPathFactory,
) -> SparseAutoencoder:
    """Trained by the command on both models' activations."""
    folder, draw = tmp_path_factory.mktemp("trained"), random.Random(0)
    texts = folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text(draw, 100)}) + "\n" for _ in range(1600)))
    options = {
        "layer": LAYER, "corpus": texts, "out": folder / "sae", "width": 1024, "k": 16, "tokens": 600_000,
        "batch": 1024, "rate": 2e-3, "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with pytest.MonkeyPatch.context() as patch:
        capsys = _Silent()
        code, _, err = Command(patch, capsys)("features", "train", *(model.name for model in pair), *words)  # type: ignore[arg-type]  # it answers alike
    assert code == 0, err
    found = open_dictionary(str(folder / "sae"))
    assert isinstance(found, SparseAutoencoder)
    return found


class _Silent:
    """In place of `capsys`, which is a test's own."""

    def readouterr(self) -> tuple[str, str]:
        return "", ""


def states(model: Model, texts: list[str]) -> list[torch.Tensor]:
    rows = [model.tokenize(Frame.plain(one)) for one in texts]
    return [torch.from_numpy(found[:, 0]) for found in model.read(rows, (LAYER,), "each")]


def test_the_planted_features_come_back(sae: SparseAutoencoder) -> None:
    assert PLANTED.recovered(sae.decoder) >= 0.9


def test_what_the_aligned_model_lacks_is_found_silent_and_nothing_else(
    sae: SparseAutoencoder, pair: tuple[Model, Model]
) -> None:
    draw = random.Random(1)
    prompts = [text(draw, 20) for _ in range(600)]
    best = (PLANTED.features @ sae.decoder.T / sae.decoder_norms).max(1)
    known = (best.values >= 0.9).nonzero()[:, 0]
    base, aligned = (
        np.stack(
            [
                sae.encode(one).dense()[:, best.indices[known]].amax(0).numpy()
                for one in states(model, prompts)
            ]
        )
        for model in pair
    )
    bars = floors(base)
    found = deactivation((base >= bars).sum(0), (aligned >= bars).sum(0), 600, 600)
    silent = np.isin(known.numpy(), GONE.numpy())
    assert (found.silenced & silent).sum() >= 0.95 * silent.sum()  # recall
    assert (found.silenced & silent).sum() >= 0.95 * found.silenced.sum()  # precision
    assert not found.silenced[~silent].any()
    assert found.alive[~silent].mean() > 0.95


def test_the_parts_add_up_on_real_states(sae: SparseAutoencoder, pair: tuple[Model, Model]) -> None:
    direction = torch.randn(256, generator=torch.Generator().manual_seed(5))
    for model in pair:
        for x in states(model, [text(random.Random(2), 60)]):
            parts = decompose(sae, x, direction)
            whole = parts.bias + parts.all_latents + parts.error
            assert float((whole - parts.total).abs().max()) < 1e-4
