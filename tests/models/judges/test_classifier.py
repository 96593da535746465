from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from unmask.models import ModelError, resolve
from unmask.models.judges import CLASSES, ClassifierJudge, build_judge

from ..tiny import tiny_tokenizer
from .planted import planted_domain

LABELS = ("Love", "HATE", "neutral", "it depends", "refused", "off-topic")
TEXTS = ["Taxes should be lower.", "I think that it depends on the weather, and more.", "No."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_classifier(tmp_path / "tiny", LABELS)


def save_classifier(folder: Path, labels: tuple[str, ...]) -> Path:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=384, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_labels=len(labels), id2label=dict(enumerate(labels)), pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.25,
    )  # fmt: skip
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_it_agrees_with_the_model_itself_text_by_text(folder: Path) -> None:
    spec = build_judge(planted_domain(), f"hf:{folder}", dtype="float32")
    judge = spec.load()
    net = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        alone = [net(**tiny_tokenizer()(text, return_tensors="pt")).logits.softmax(-1)[0] for text in TEXTS]
    np.testing.assert_allclose(judge.classify(["q"] * 3, TEXTS), torch.stack(alone), atol=1e-5)
    assert judge.identity == spec.identity
    assert spec.name == str(folder)


def test_several_labels_add_up_and_the_question_can_be_shown(folder: Path) -> None:
    found = resolve(str(folder))
    kinds = dict(zip(LABELS, ("a", "b", "neutral", "neutral", "refusal", "off_topic"), strict=True))
    judge = ClassifierJudge(found, kinds, dtype="float32")  # type: ignore[arg-type]  # a dict of str for the literal kinds
    rows = judge.classify(["q"], TEXTS[:1])
    assert rows[0, CLASSES.index("hedged")] == 0
    assert rows.sum() == pytest.approx(1, abs=1e-5)
    asked = ClassifierJudge(found, kinds, with_question=True, dtype="float32")  # type: ignore[arg-type]  # as above
    assert asked.identity != judge.identity
    assert not np.allclose(asked.classify(["What of tea?"], TEXTS[:1]), rows, atol=1e-4)


def test_an_empty_text_is_off_topic(folder: Path) -> None:
    judge = build_judge(planted_domain(), f"hf:{folder}").load()
    assert judge.classify(["q"], [" \n"]).tolist() == [[0, 0, 0, 0, 0, 1]]


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("love", "neutral"), ("love", "hate", "joy")])
def test_labels_that_do_not_map_are_refused(tmp_path: Path, labels: tuple[str, ...]) -> None:
    folder = save_classifier(tmp_path / "other", labels)
    with pytest.raises(ModelError, match=r"The labels of .* are .*id2label"):
        build_judge(planted_domain(), f"hf:{folder}")


def test_a_mapping_must_cover_the_labels(folder: Path) -> None:
    with pytest.raises(ModelError, match="leaves out HATE"):
        ClassifierJudge(resolve(str(folder)), {"Love": "a"})


def test_a_language_model_is_no_classifier(tiny) -> None:
    with pytest.raises(ModelError, match=r"LlamaForCausalLM; a judge must be"):
        build_judge(planted_domain(), f"hf:{tiny('llama')}")


@pytest.mark.parametrize("words", ["gpt-4", "hf:", ""])
def test_unknown_words(words: str) -> None:
    with pytest.raises(ModelError, match="give auto, or hf:REF"):
        build_judge(planted_domain(), words)
