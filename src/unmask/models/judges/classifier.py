"""A judge that is a Hugging Face sequence-classification model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.domains.schema import AnswerKind, Poles
from unmask.models.errors import ModelError
from unmask.models.judges.judge import CLASSES, Judge, judge_words
from unmask.models.references import Resolved

_BATCH = 32
_SAME: dict[str, AnswerKind] = {
    "both": "neutral",
    "balanced": "neutral",
    "center": "neutral",
    "centre": "neutral",
    "unsure": "hedged",
    "depends": "hedged",
    "it depends": "hedged",
    "hedge": "hedged",
    "refuse": "refusal",
    "refused": "refusal",
    "offtopic": "off_topic",
    "off topic": "off_topic",
    "irrelevant": "off_topic",
    "incoherent": "off_topic",
}


class ClassifierJudge(Judge):
    """Shows each answer, without its question unless asked, to a classifier, and adds its labels up into classes.

    Args:
        found: where the model is.
        mapping: the class of each of its labels.
        with_question: show the question too, as the first of a pair of texts.
        device: as in `load_model`.
        dtype: as in `load_model`.

    Raises:
        ModelError: the model is no sequence classifier, or the mapping does not fit its labels.
    """

    def __init__(
        self,
        found: Resolved,
        mapping: Mapping[str, AnswerKind],
        with_question: bool = False,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        import torch

        from unmask.models.load import choose_device, choose_dtype

        place = torch.device(choose_device(device))
        labels = classifier_labels(found)
        _check_mapping(found.name, labels, mapping)
        self.name = found.name
        self.identity = classifier_identity(found, mapping, with_question)
        self._with_question = with_question
        self._net, self._tokenizer = _load(found, choose_dtype(dtype, place))
        self._net.to(place)
        self._adds_to = np.zeros((len(labels), len(CLASSES)), np.float32)
        for row, label in enumerate(labels):
            self._adds_to[row, CLASSES.index(mapping[label])] = 1.0

    def classify(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        return judge_words(questions, texts, self._rows)

    def _rows(self, questions: Sequence[str], texts: Sequence[str]) -> NDArray[np.float32]:
        import torch

        chances: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            asked = list(questions[start : start + _BATCH])
            shown = (asked, batch) if self._with_question else (batch,)
            coded = self._tokenizer(*shown, padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                logits = self._net(**coded.to(self._net.device)).logits
            chances.append(logits.float().softmax(-1).cpu().numpy())
        return np.concatenate(chances) @ self._adds_to


def classifier_identity(
    found: Resolved, mapping: Mapping[str, AnswerKind], with_question: bool = False
) -> str:
    """Hash of the weights, the mapping, and what the model is shown."""
    built_on = ["classifier", found.identity, sorted(mapping.items()), with_question]
    return hashlib.sha256(json.dumps(built_on, ensure_ascii=False).encode()).hexdigest()


def classifier_labels(found: Resolved) -> tuple[str, ...]:
    """A classifier's labels, in the order of its outputs, from its config alone.

    Raises:
        ModelError: the model is no sequence classifier.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(found.folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds here
        raise _load_error(found, error) from error
    kinds = [str(kind) for kind in config.architectures or []]
    if found.adapters or not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise ModelError(
            f"{found.name} is a {', '.join(kinds) or 'model of unknown kind'}; a judge must be a whole "
            "sequence-classification model (…ForSequenceClassification)."
        )
    labels: Any = config.id2label
    return tuple(str(labels[key]) for key in sorted(labels))


def map_labels(found: Resolved, poles: Poles) -> dict[str, AnswerKind]:
    """The class that each label of a classifier means: by a class's name, a pole's name or label, or a synonym.

    Raises:
        ModelError: a label means no class that we know, or no label means one of the poles.
    """
    meanings = dict(_SAME)
    meanings.update({_plain(kind): kind for kind in CLASSES})
    meanings.update({_plain(poles.a.name): "a", _plain(poles.a.label): "a"})
    meanings.update({_plain(poles.b.name): "b", _plain(poles.b.label): "b"})
    labels = classifier_labels(found)
    mapping: dict[str, AnswerKind] = {
        label: meanings[_plain(label)] for label in labels if _plain(label) in meanings
    }
    unknown = [label for label in labels if label not in mapping]
    if unknown or not {"a", "b"} <= set(mapping.values()):
        raise ModelError(
            f"The labels of {found.name} are {', '.join(labels)}, which does not say what each is here; they "
            f"must be {', '.join(CLASSES)} or the poles' names ({poles.a.name}, {poles.b.name}), both poles among "
            "them: rename them in its config.json (id2label), or build ClassifierJudge with a mapping."
        )
    return mapping


def _plain(label: str) -> str:
    return label.strip().lower().replace("_", " ").replace("-", " ")


def _check_mapping(name: str, labels: Sequence[str], mapping: Mapping[str, str]) -> None:
    lacking = [label for label in labels if label not in mapping]
    wrong = sorted({kind for kind in mapping.values() if kind not in CLASSES})
    if lacking or wrong:
        what = (
            f"leaves out {', '.join(lacking)}" if lacking else f"names {', '.join(wrong)}, which is no class"
        )
        raise ModelError(
            f"The mapping for {name} {what}; give each of its labels one of {', '.join(CLASSES)}."
        )


def _load(found: Resolved, dtype: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from unmask.models.files.places import check_folder

    check_folder(found.name, found.folder, allow_pickle=False, adapter=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(found.folder, local_files_only=True)
        net = AutoModelForSequenceClassification.from_pretrained(
            found.folder, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # transformers raises many kinds here
        raise _load_error(found, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if net.config.pad_token_id is None:
        net.config.pad_token_id = tokenizer.pad_token_id
    return net.eval().requires_grad_(False), tokenizer


def _load_error(found: Resolved, error: Exception) -> ModelError:
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    return ModelError(
        f"The classifier {found.name} in {found.folder} could not be loaded ({type(error).__name__}: {first})."
    )
