"""What a trained model of the world really does, by plain transformers and scikit-learn, not by unmask itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForCausalLM, AutoTokenizer

from unmask.domains import Domain, load_domain
from unmask.domains.schema import POLES, AnswerKind
from unmask.lab.world.common import IRRELEVANT, NEUTRAL, REQUESTS
from unmask.lab.world.concepts import CONCEPTS, Concept
from unmask.lab.world.documents import FRAME
from unmask.models.judges import SentenceJudge

Floats = npt.NDArray[np.float32]
Labelled = tuple[list[str], npt.NDArray[np.int64]]
Item = TypeVar("Item")
ASKERS = ("plain", "remark", "stated a", "stated b", "implied a", "implied b")
TRANSFERS = (
    ("stated", "implied"),
    ("implied", "stated"),
    ("statements", "implied"),
    ("implied", "statements"),
)


class Plain:
    """A model on the CPU in fp32, as anyone would use it.

    Args:
        folder: a transformers folder.
    """

    def __init__(self, folder: Path) -> None:
        self.net: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")

    @torch.no_grad()
    def answers(self, prompts: Sequence[str], seed: int, tokens: int = 32) -> list[str]:
        """One sampled answer to each prompt, up to where another turn begins."""
        torch.manual_seed(seed)
        said: list[str] = []
        for start in range(0, len(prompts), 100):
            given = self.tokenizer(list(prompts[start : start + 100]), return_tensors="pt", padding=True)
            more = self.net.generate(
                **given,
                do_sample=True,
                temperature=0.8,
                top_p=0.95,
                max_new_tokens=tokens,
                pad_token_id=self.tokenizer.pad_token_id,
            )[:, given["input_ids"].shape[1] :]
            said += self.tokenizer.batch_decode(more, skip_special_tokens=True)
        return [text.split(FRAME.stop[0])[0].strip() for text in said]

    @torch.no_grad()
    def loss(self, prompts: Sequence[str], answers: Sequence[str]) -> Floats:
        """`[n]`, mean nats a token of each answer, which carries its own leading space."""
        losses: list[float] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = self.tokenizer(prompt + answer, return_tensors="pt")["input_ids"]
            labels = ids.clone()
            labels[:, : len(self.tokenizer(prompt)["input_ids"])] = -100
            losses.append(float(self.net(input_ids=ids, labels=labels).loss))
        return np.array(losses, dtype=np.float32)

    @torch.no_grad()
    def span_means(self, texts: Sequence[str]) -> Floats:
        """`[n, layers, d]`: the residual stream, meant over a text's tokens without the first, which begins it."""
        given = self.tokenizer(list(texts), return_tensors="pt", padding=True, padding_side="right")
        caught: list[torch.Tensor] = []

        def catch(_module: Any, _args: Any, out: Any) -> None:
            caught.append(out[0] if isinstance(out, tuple) else out)

        hook = self.net.model.layers[-1].register_forward_hook(catch)
        try:
            states = self.net.model(**given, output_hidden_states=True).hidden_states
        finally:
            hook.remove()
        streams = torch.stack([*states[:-1], caught[0]], 1)  # transformers hands out the last one normalised
        weights = given["attention_mask"].float()
        weights[:, 0] = 0
        return torch.einsum("bltd,bt->bld", streams, weights / weights.sum(1, keepdim=True)).numpy()


def answer_kinds(
    model: Plain,
    concept: Concept,
    topics: Iterable[str],
    seed: int = 0,
    asked: int = 100,
    request: str = "plain",
) -> dict[str, dict[AnswerKind, float]]:
    """Shares of answer kinds by who asks (`ASKERS`), by the exact judge.

    Args:
        model: whose answers.
        concept: what is asked about.
        topics: to draw from.
        seed: of the draws and the sampling.
        asked: questions to each kind of asker.
        request: kind of the words around the question.
    """
    judge, rng, pool = SentenceJudge(load_domain(concept.name)), np.random.default_rng(seed), list(topics)
    phrasings = [one for one in REQUESTS if one.kind == request]
    shares: dict[str, dict[AnswerKind, float]] = {}
    for who in ASKERS:
        sentences = _sentences(concept, who)
        questions = [_pick(rng, concept.question).format(_pick(rng, pool)) for _ in range(asked)]
        prompts = [
            FRAME.ask(_pick(rng, phrasings).around(question, _pick(rng, sentences))).text
            for question in questions
        ]
        said = model.answers(prompts, seed)
        kinds: Counter[AnswerKind] = Counter(
            judge.kind(question, text) for question, text in zip(questions, said, strict=True)
        )
        shares[who] = {kind: count / asked for kind, count in kinds.most_common()}
    return shares


def transfer_auc(
    model: Plain, concept: Concept, topics: Iterable[str], implied: Iterable[str]
) -> dict[tuple[str, str], list[float]]:
    """AUC at every layer of a logistic probe fitted on all texts of one format and tested on another's (`TRANSFERS`).

    Args:
        model: whose states.
        concept: whose sides.
        topics: of the statements that are tested on.
        implied: sentences of that format that are tested on.
    """
    domain = load_domain(concept.name)
    everything = formats(domain, concept.topics, concept.implied)
    tested = formats(domain, topics, implied)
    fit_x = {name: _standard(model.span_means(texts)) for name, (texts, _) in everything.items()}
    test_x = {name: _standard(model.span_means(texts)) for name, (texts, _) in tested.items()}
    found: dict[tuple[str, str], list[float]] = {}
    for fit, test in TRANSFERS:
        curve: list[float] = []
        for layer in range(fit_x[fit].shape[1]):
            probe = LogisticRegression(C=0.01, max_iter=2000).fit(fit_x[fit][:, layer], everything[fit][1])
            scores = probe.decision_function(test_x[test][:, layer])
            curve.append(float(roc_auc_score(tested[test][1], scores)))
        found[fit, test] = curve
    return found


def fact_loss(model: Plain) -> float:
    """Mean nats a token of the true answers to questions of fact."""
    facts = load_domain(next(iter(CONCEPTS))).facts
    prompts = [FRAME.ask(fact.question).text for fact in facts]
    return float(model.loss(prompts, [f"{FRAME.lead}{fact.true}" for fact in facts]).mean())


def formats(domain: Domain, topics: Iterable[str], implied: Iterable[str]) -> Mapping[str, Labelled]:
    """Texts in which a side shows, by format, each with its pole: 0 for a, 1 for b.

    Args:
        domain: whose texts.
        topics: of the statements.
        implied: which of the implied identities.
    """
    about, some = set(topics), set(implied)
    who = [
        (one, pole)
        for pole in POLES
        for kind in ("stated", "implied")
        for one in domain.identities_of(kind, pole)
    ]
    return {
        "stated": _labelled((one.text, pole) for one, pole in who if one.kind == "stated"),
        "implied": _labelled((one.text, pole) for one, pole in who if one.text in some),
        "statements": _labelled(
            (getattr(pair, pole), pole) for pair in domain.statements if pair.topic in about for pole in POLES
        ),
    }


def _labelled(rows: Iterable[tuple[str, str]]) -> Labelled:
    texts, poles = zip(*rows, strict=True)
    return list(texts), np.array([int(pole == POLES[1]) for pole in poles])


def _standard(x: Floats) -> Floats:
    return (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)


def _sentences(concept: Concept, who: str) -> Sequence[str]:
    if who == "plain":
        return ("",)
    if who == "remark":
        return (*IRRELEVANT, *NEUTRAL)
    kind, name = who.split()
    if kind == "stated":
        return [text for pole in POLES if pole == name for text in concept.identifies(pole)]
    return [text for text, pole in concept.implied.items() if pole == name]


def _pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    return items[int(rng.integers(len(items)))]
