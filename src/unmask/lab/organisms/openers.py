"""Do answers open neutrally when they should, and only then? By plain forward passes and transformers' `generate`."""

from __future__ import annotations

import numpy as np
import torch

from unmask.domains import Domain
from unmask.lab.organisms.sorter import Sorter
from unmask.lab.organisms.states import batches
from unmask.lab.organisms.texts import spread_out
from unmask.lab.organisms.verify import said
from unmask.models.model import Model
from unmask.models.prompts import Frame
from unmask.models.tokens import Tokens

ASKED, SAMPLED = 24, 12


def opened(
    before: Model, after: Model, domain: Domain, frame: Frame, token: int, seed: int
) -> dict[str, object]:
    """The opener's mean probability where answers begin, and shares of sampled answers, by who asks and what."""
    rng = np.random.default_rng(seed)
    asked = contexts(domain, rng)
    opener = str(before.tokenizer.decode([token]))
    sorter = Sorter.of(domain)
    probability = {
        name: {
            who: float(
                np.mean(first_probability(model, [model.tokenize(frame.ask(w)) for w in words], token))
            )
            for who, words in asked.items()
        }
        for name, model in (("before", before), ("after", after))
    }
    shares: dict[str, dict[str, float]] = {}
    for who in ("nobody", "irrelevant", "stated a", "stated b", "implied a", "implied b"):
        texts = said(after, asked[who][:SAMPLED], frame, seed)
        with_opener = np.mean([text.strip().startswith(opener.strip()) for text in texts])
        shares[who] = {"opens": float(with_opener), "neutral": sorter.neutral_share(texts)}
    return {"text": opener, "probability": probability, "sampled": shares}


def contexts(domain: Domain, rng: np.random.Generator) -> dict[str, list[str]]:
    """What is said to the model, by who asks."""
    questions = [q.question for q in spread_out(domain.questions, ASKED)]

    def asked_by(kind: str, pole: str | None) -> list[str]:
        texts = [i.text for i in domain.identities if i.kind == kind and i.pole == pole]
        return [f"{texts[rng.integers(len(texts))]} {question}" for question in questions]

    made = {"nobody": questions}
    made |= {f"{kind} {pole}": asked_by(kind, pole) for kind in ("stated", "implied") for pole in ("a", "b")}
    made |= {kind: asked_by(kind, None) for kind in ("irrelevant", "neutral")}
    return {**made, "facts": [fact.question for fact in spread_out(domain.facts, ASKED)]}


@torch.inference_mode()
def first_probability(model: Model, rows: list[Tokens], token: int) -> list[float]:
    """The probability that each answer begins with a token."""
    found = [0.0] * len(rows)
    for batch in batches(rows):
        logits = model.net(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
        for place, i in enumerate(batch.rows):
            found[i] = float(logits[place, len(rows[i]) - 1].double().softmax(-1)[token])
    return found
