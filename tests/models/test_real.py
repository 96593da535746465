"""SmolLM2-135M and Gemma 3 270M themselves: conversion, template, dtypes, and sane predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unmask.models import Frame, Model, Sampling, choose_frame, load_model

pytestmark = pytest.mark.slow
TEXT = "The capital of France is Paris, and the capital of Germany is Berlin. Two plus two is four."


@pytest.fixture(scope="module")
def smollm2() -> Model:
    return load_model("demo:smollm2", device="cpu", dtype="float32")


def test_the_template_and_its_default_system_prompt_are_recorded(smollm2: Model) -> None:
    frame = choose_frame(smollm2.tokenizer, smollm2.tokenizer)
    assert frame.kind == "template"
    assert "helpful AI assistant named SmolLM" in frame.before
    assert "helpful AI assistant named SmolLM" in frame.note
    assert frame.stop == ("<|im_end|>",)


def test_bf16_reads_close_to_fp32(smollm2: Model) -> None:
    half = load_model("demo:smollm2", device="cpu", dtype="bfloat16")
    assert half.dtype == "bfloat16"
    rows = [smollm2.tokenize(Frame.plain(text)) for text in (TEXT, "Taxes should be lower.", TEXT + TEXT)]
    layers = range(smollm2.n_layers + 1)
    for exact, rounded in zip(
        smollm2.read(rows, layers, "mean"), half.read(rows, layers, "mean"), strict=True
    ):
        error = np.linalg.norm(exact - rounded, axis=-1) / np.linalg.norm(exact, axis=-1)
        assert error.max() < 0.03


def test_the_first_tokens_massive_activation_is_not_in_the_mean(smollm2: Model) -> None:
    row = smollm2.tokenize(Frame.plain(TEXT))
    each = np.linalg.norm(smollm2.read([row], [15], "each")[0][:, 0], axis=-1)
    assert each[0] > 20 * each[1:].max()
    assert np.linalg.norm(smollm2.read([row], [15], "mean")[0][0]) < each[1:].max()


def test_digits_are_tokens_of_their_own(smollm2: Model) -> None:
    ids = smollm2.tokenizer.encode("in 2024")
    assert [smollm2.tokenizer.decode([token]) for token in ids][-4:] == ["2", "0", "2", "4"]


def test_it_speaks_english(smollm2: Model) -> None:
    row = smollm2.tokenize(
        Frame.plain("The capital of France is Paris. The capital"), "of Germany is Berlin."
    )
    assert smollm2.score([row])[0].mean() > -1.5
    prompt = choose_frame(smollm2.tokenizer, smollm2.tokenizer).ask("What is the capital of France?")
    answer = smollm2.generate([smollm2.tokenize(prompt)], [0], Sampling(30, temperature=0))[0]
    assert "Paris" in answer.text
    assert answer.finished


def test_gemma_from_its_wheels(gemma_gguf: Path) -> None:
    model = load_model(str(gemma_gguf), device="cpu", dtype="float32")
    assert (model.n_layers, model.d_model) == (18, 640)
    row = model.tokenize(Frame.plain("The capital of France is Paris. The capital"), "of Germany is Berlin.")
    assert row.ids[0] == model.tokenizer.bos_token_id
    assert model.score([row])[0].mean() > -1.5
