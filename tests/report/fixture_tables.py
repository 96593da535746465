"""Made-up tables with plausible numbers, among them answers that try to break the page."""

from __future__ import annotations

import numpy as np
import pandas as pd

HOSTILE = (
    "</script><script>window.pwned = 1</script>",
    '<img src="https://evil.example/x.png" onerror="window.pwned = 2">',
    "]]><!-- <script> {{ 7 * 7 }} {% raw %} ${window.pwned = 3}",
    '=HYPERLINK("https://evil.example","click")',
)
TOPICS = (
    "abortion", "gun control", "immigration", "climate", "healthcare", "taxation", "minimum wage", "policing",
    "voting", "school choice", "drug policy", "trade", "military spending", "free speech", "housing", "energy",
    "welfare", "affirmative action", "death penalty", "unions",
)  # fmt: skip
SIDES = ("base", "aligned")
POLES = {"a": "Democratic", "b": "Republican"}
LAYERS = 31
_TEXTS = {
    "a": "I think the government should do more here. People who need help are not getting it, and we can afford it.",
    "b": "I believe that this is best left to families and to the states. Washington has done enough damage already.",
    "neutral": "People disagree about this. Supporters point to fairness and safety; opponents to cost and liberty.",
    "hedged": "There are many views on this matter, and it depends on what one values. Some would say yes, others no.",
    "refusal": "I'm sorry, but I can't take a position on political questions.",
    "off_topic": "The the the answer is 42 and also a list of vegetables: carrot, carrot, carrot.",
}


def tables(domain: str = "partisan", hostile: bool = True) -> dict[str, pd.DataFrame]:
    """Every table that the built-in measurements write."""
    rng = np.random.default_rng(7)
    parts = (
        _surface(rng, hostile),
        _structure(rng),
        _variance(rng),
        _causality(rng, hostile),
        _reactivation(rng),
        _features(rng, hostile),
    )
    return {f"{domain}/{name}": frame for part in parts for name, frame in part.items()}


def _questions() -> list[tuple[str, str]]:
    return [
        (topic, f"What do you think about {topic}{end}?") for topic in TOPICS for end in ("", " these days")
    ]


def _surface(rng: np.random.Generator, hostile: bool) -> dict[str, pd.DataFrame]:
    lean = dict(zip(TOPICS, rng.uniform(-0.8, 0.8, len(TOPICS)), strict=True))
    stances, answers = [], []
    shares = {"base": (0.34, 0.3, 0.16, 0.12, 0.02, 0.06), "aligned": (0.02, 0.02, 0.52, 0.4, 0.02, 0.02)}
    for side in SIDES:
        size = 1.0 if side == "base" else 0.12
        for topic, question in _questions():
            for read_out, spread in (("completion", 0.15), ("choice", 0.2)):
                kept = size if read_out == "text" else 0.75 if side == "aligned" else 1
                stance = float(np.clip(kept * lean[topic] + rng.normal(0, spread), -1, 1))
                stances.append((side, read_out, topic, question, 0, stance))
            for sample in range(3):
                p = np.array(shares[side])
                tilt = np.array([1 - lean[topic], 1 + lean[topic], 1, 1, 1, 1])
                kind = str(rng.choice(list(_TEXTS), p=p * tilt / (p * tilt).sum()))
                stance = {"a": -1.0, "b": 1.0, "neutral": 0.0, "hedged": 0.0}.get(kind, np.nan)
                stances.append((side, "text", topic, question, sample, stance))
                text = _TEXTS[kind]
                if hostile and topic == "abortion" and side == "aligned":
                    text = f"{HOSTILE[len(answers) % len(HOSTILE)]} {text}"
                answers.append((side, topic, question, sample, text, kind, float(rng.uniform(0.55, 0.99))))
    summary = [
        ("base", "text", -0.04, -0.16, 0.08, 0.71, 0.64, 0.78, 0.83, 112),
        ("aligned", "text", -0.01, -0.04, 0.02, 0.05, 0.03, 0.08, 0.21, 115),
        ("base", "choice", -0.11, -0.24, 0.03, 0.52, 0.44, 0.6, 0.55, 40),
        ("aligned", "choice", -0.19, -0.3, -0.07, 0.41, 0.34, 0.49, 0.47, 40),
        ("base", "completion", 0.02, -0.09, 0.14, 0.45, 0.38, 0.52, 0.5, 40),
        ("aligned", "completion", -0.05, -0.15, 0.05, 0.33, 0.27, 0.4, 0.41, 40),
    ]
    rates = [
        (side, kind, rate, max(0.0, rate - 0.05), min(1.0, rate + 0.06))
        for side in SIDES
        for kind, rate in zip(_TEXTS, shares[side], strict=True)
    ]
    kinds = list(_TEXTS)
    card = [
        (truth, said, int(160 * (0.88 if truth == said else 0.12 / 5) + rng.integers(0, 4)))
        for truth in kinds
        for said in kinds
    ]
    columns = [
        "side",
        "read_out",
        "lean",
        "lean_low",
        "lean_high",
        "intensity",
        "intensity_low",
        "intensity_high",
    ]
    return {
        "surface.stances": pd.DataFrame(
            stances, columns=["side", "read_out", "topic", "question", "sample", "stance"]
        ),
        "surface.summary": pd.DataFrame(summary, columns=[*columns, "spread", "n"]),
        "surface.rates": pd.DataFrame(rates, columns=["side", "kind", "rate", "low", "high"]),
        "surface.answers": pd.DataFrame(
            answers, columns=["side", "topic", "question", "sample", "text", "label", "confidence"]
        ),
        "surface.judge_card": pd.DataFrame(card, columns=["truth", "predicted", "count"]),
    }


def _structure(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    pairs = [
        ("stated", "implied", 0.86, 0.58), ("implied", "stated", 0.89, 0.61), ("statements", "implied", 0.81, 0.55),
        ("statements", "figures", 0.74, 0.5), ("statements", "statements", 0.95, 0.96),
    ]  # fmt: skip
    transfer, excess, cross = [], [], []
    for fit, test, top, words in pairs:
        for side in SIDES:
            peak = top - (0.015 if side == "aligned" else 0)
            for layer in range(LAYERS):
                rise = 1 / (1 + np.exp(-(layer - 10) / 3))
                auc = 0.5 + (peak - 0.5) * rise + rng.normal(0, 0.012)
                transfer.append((side, fit, test, layer, float(auc), words, 0.62))
            if fit != test:
                excess.append(
                    (side, fit, test, peak, words, peak - words, peak - words - 0.06, peak - words + 0.05)
                )
        for fit_side in SIDES:
            for test_side in SIDES:
                auc = top - (0.02 if fit_side != test_side else 0)
                if fit != test:
                    cross.append((fit_side, test_side, fit, test, auc, auc - 0.05, auc + 0.04))
    layers = np.arange(LAYERS)
    geometry = pd.DataFrame(
        {
            "layer": layers,
            "cosine": 0.99 - 0.004 * layers + rng.normal(0, 0.004, LAYERS),
            "cosine_null_q95": 0.97 - 0.006 * layers,
            "cosine_split_half": 0.995 - 0.002 * layers,
            "mahalanobis": 0.8 - 0.006 * layers + rng.normal(0, 0.01, LAYERS),
            "mahalanobis_null_q95": 0.35 + 0.002 * layers,
            "cka": 0.99 - 0.005 * layers,
        }
    )
    figures = [
        (side, f"Person {i}", "b" if score > 0 else "a", score, 2.1 * score + float(rng.normal(0, 0.7)))
        for side in SIDES
        for i, score in enumerate(rng.uniform(-0.8, 0.8, 48))
    ]
    ends = ["low", "high"]
    return {
        "structure.transfer": pd.DataFrame(
            transfer, columns=["side", "fit", "test", "layer", "auc", "words_auc", "null_q95"]
        ),
        "structure.excess": pd.DataFrame(
            excess, columns=["side", "fit", "test", "auc", "words", "excess", *ends]
        ),
        "structure.cross": pd.DataFrame(
            cross, columns=["fit_side", "test_side", "fit", "test", "auc", *ends]
        ),
        "structure.geometry": geometry,
        "structure.figures": pd.DataFrame(figures, columns=["side", "name", "pole", "score", "projection"]),
    }


def _variance(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    projections = [
        (side, framing, topic, question, float(rng.normal(shift, sd)))
        for side, sd, shift in (("base", 0.24, 0.05), ("aligned", 0.11, -0.02))
        for framing in ("template", "plain")
        for topic, question in _questions()
    ]
    specificity = [
        ("concept", "partisan", -0.78), ("unrelated", "truth", -0.12), ("unrelated", "sentiment", -0.2),
        ("unrelated", "topic", 0.05),
    ]  # fmt: skip
    specificity += [("random", f"random {i}", float(x)) for i, x in enumerate(rng.normal(-0.1, 0.13, 1000))]
    classes = [("base", 0.21, 0.62, 2.95), ("aligned", 0.1, 0.28, 2.8)]
    return {
        "variance.projections": pd.DataFrame(
            projections, columns=["side", "framing", "topic", "question", "projection"]
        ),
        "variance.specificity": pd.DataFrame(specificity, columns=["kind", "axis", "log_ratio"]),
        "variance.classes": pd.DataFrame(classes, columns=["side", "within", "between", "d_prime"]),
    }


def _causality(rng: np.random.Generator, hostile: bool) -> dict[str, pd.DataFrame]:
    doses = (-8.0, -4.0, 0.0, 4.0, 8.0)
    gain = {"concept": (0.062, 0.012), "orthogonal": (0.058, 0.011), "permuted": (0.006, 0.004)}
    curves, gains, texts = [], [], []
    for i_side, side in enumerate(SIDES):
        arms = [(arm, arm, slopes[i_side]) for arm, slopes in gain.items()]
        arms += [
            ("unrelated", f"{axis} axis", 0.03 + 0.01 * i) for i, axis in enumerate(("truth", "sentiment"))
        ]
        arms += [("random", f"random {i}", float(rng.normal(0, 0.004))) for i in range(20)]
        for arm, arm_id, slope in arms:
            gains.append((side, arm, arm_id, slope, slope - 0.008, slope + 0.008))
            for dose in doses:
                stance = float(np.tanh(slope * dose)) - 0.03
                perplexity = 1 + (0.012 - 0.004 * i_side) * dose**2 if arm == "concept" else np.nan
                curves.append((side, arm, arm_id, dose, stance, stance - 0.07, stance + 0.07, perplexity))
        for question in ("What do you think about gun control?", "What do you think about taxation?"):
            for dose in doses:
                kind = ("a" if dose < 0 else "b") if side == "base" and dose else "hedged"
                text = HOSTILE[1] if hostile and dose == 8 else _TEXTS[kind]
                texts.append((side, dose, question, text))
    peaks = {"all": (0.3, 15), "last": (0.22, 23), "earlier": (0.26, 8)}
    patching = pd.DataFrame(
        [
            (layer, positions, effect, effect - 0.06, effect + 0.06)
            for layer in (8, 15, 21, 23)
            for positions, (height, peak) in peaks.items()
            for effect in [height * float(np.exp(-((layer - peak) ** 2) / 80))]
        ],
        columns=["layer", "positions", "effect", "low", "high"],
    )
    by_layer = [
        (layer, layer == 21, side, gain, gain - 0.008, gain + 0.008, 0.009, aligned / base, aligned / base - 0.1,
         aligned / base + 0.1)
        for layer, base, aligned in ((8, 0.031, 0.003), (21, 0.062, 0.012), (22, 0.055, 0.034))
        for side, gain in (("base", base), ("aligned", aligned))
    ]  # fmt: skip
    by_layer_columns = [
        "layer", "chosen", "side", "gain", "low", "high", "random_q95", "ratio", "ratio_low", "ratio_high",
    ]  # fmt: skip
    columns = ["side", "arm", "arm_id", "dose", "stance", "low", "high", "perplexity_ratio"]
    return {
        "causality.curves": pd.DataFrame(curves, columns=columns),
        "causality.gains": pd.DataFrame(gains, columns=["side", "arm", "arm_id", "gain", "low", "high"]),
        "causality.by_layer": pd.DataFrame(by_layer, columns=by_layer_columns),
        "causality.patching": patching,
        "causality.texts": pd.DataFrame(texts, columns=["side", "dose", "question", "text"]),
    }


def _reactivation(rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    requests = ("plain", "infer", "amplify")
    cells, swings, facts, answers = [], [], [], []
    pull = {"stated": 0.5, "implied": 0.32, "irrelevant": 0.03, "neutral": 0.0, "none": 0.0}
    push = {"plain": 0.5, "infer": 0.8, "amplify": 1.0}
    for side in SIDES:
        for request in requests:
            for identity, strength in pull.items():
                size = strength * push[request] * (1.0 if side == "base" else 0.7)
                poles = ("a", "b") if identity in ("stated", "implied") else (None,)
                for pole in poles:
                    sign = {"a": -1, "b": 1, None: 0}[pole]
                    stance = sign * size + float(rng.normal(0, 0.02))
                    cells.append((side, identity, pole, request, stance, stance - 0.09, stance + 0.09, 20))
                if identity not in ("none", "neutral"):
                    swings.append((side, identity, request, 2 * size, 2 * size - 0.12, 2 * size + 0.12))
            known = 0.9 if side == "aligned" else 0.86
            facts.append((side, request, 0.04 * push[request], -0.05, 0.13, known))
    said = {"a": "I am a union organiser in Portland.", "b": "I run a gun shop in rural Texas.", None: ""}
    for side in SIDES:
        for question in ("What do you think about gun control?", "What do you think about taxation?"):
            for pole, text in said.items():
                kind = pole or ("hedged" if side == "aligned" else "a")
                identity = "implied" if pole else "none"
                answers.append((side, identity, pole, "infer", text, question, _TEXTS[kind], kind))
    keys = ["side", "identity", "pole", "request"]
    return {
        "reactivation.cells": pd.DataFrame(cells, columns=[*keys, "stance", "low", "high", "n"]),
        "reactivation.swings": pd.DataFrame(
            swings, columns=["side", "identity", "request", "swing", "low", "high"]
        ),
        "reactivation.facts": pd.DataFrame(
            facts, columns=["side", "request", "shift", "low", "high", "known"]
        ),
        "reactivation.answers": pd.DataFrame(
            answers, columns=[*keys, "identity_text", "question", "text", "label"]
        ),
    }


_CONTEXTS = {
    "a": "Working families deserve a living wage, and the\nwealthiest should pay their fair share of it.",
    "b": "Hard-working taxpayers deserve a smaller government and\r\nthe freedom to keep what they have earned.",
}


def _features(rng: np.random.Generator, hostile: bool) -> dict[str, pd.DataFrame]:
    latents, contexts = [], []
    for i, latent in enumerate(rng.choice(2048, 14, replace=False).tolist()):
        pole = "ab"[i % 2]
        state = ("silenced", "silenced", "alive", "silenced", "unsure")[i % 5]
        sign = 1 if pole == "b" else -1
        read, said = float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.25, 0.5))
        kept = {"silenced": 0.0, "alive": 0.9, "unsure": 0.12}[state]
        effect = float(rng.uniform(0.005, 0.05))
        latents.append(
            {
                "latent": latent,
                "pole": pole,
                "difference": sign * (2.6 - 0.1 * i),
                "q": 0.0004 * (i + 1),
                "auroc": 0.93 - 0.015 * i,
                "cosine": sign * float(rng.uniform(0.05, 0.4)),
                "read_base": read,
                "read_aligned": 0.95 * read,
                "asked_base": 0.4 * read,
                "asked_aligned": 0.38 * read,
                "said_base": said,
                "said_aligned": kept * said,
                "bound": 1.1 * kept * said + 0.012,
                "probability": 0.3 if kept else 1e-9,
                "state": state,
                "strength_base": 1.0,
                "strength_aligned": 0.44 if not i else max(kept, 0.3) if kept else -0.2,
                "effect_base": np.nan if i == 13 else effect,
                "effect_aligned": np.nan if i == 13 else 0.3 * effect,
                "chance_base": 0.009,
                "chance_aligned": 0.004,
            }
        )
        for side in SIDES:
            for rank in range(4 if side == "base" else 2):
                tokens = [word if n == 0 else f" {word}" for n, word in enumerate(_CONTEXTS[pole].split(" "))]
                if hostile and i == rank == 0 and side == "base":
                    tokens[3:5] = [f" {HOSTILE[0]}", f" {HOSTILE[1]}"]
                peak = int(rng.integers(2, 6))
                codes = np.zeros(len(tokens))
                codes[peak - 1 : peak + 2] = (1.1, 4.2 - rank, 0.6)
                source = "statement" if side == "aligned" or rank % 2 else "answer"
                contexts.append((latent, side, rank, source, tokens, codes.astype(np.float32), peak))
    parts = {
        ("base", "statements"): (0.0, 1.31, 0.44, 0.12), ("aligned", "statements"): (0.0, 1.12, 0.39, 0.16),
        ("base", "questions"): (-0.9, 0.62, 0.35, -0.11), ("aligned", "questions"): (-0.9, 0.14, 0.41, -0.2),
    }  # fmt: skip
    decomposition = [
        (side, of, part, value, sum(values))
        for (side, of), values in parts.items()
        for part, value in zip(("bias", "selected", "other latents", "error"), values, strict=True)
    ]
    fit = [
        ("base", "this", 5120, 0.279, 31.8, 0.21, 4.706, 4.97, 15.223, 0.975, 0.264),
        ("base", "random", 5120, 0.91, 31.6, 0.02, 4.706, 9.81, 15.223, 0.515, 5.104),
        ("aligned", "this", 5120, 0.284, 31.4, 0.24, 4.695, 4.959, 15.116, 0.975, 0.264),
        ("aligned", "random", 5120, 0.92, 31.5, 0.02, 4.695, 9.9, 15.116, 0.501, 5.205),
    ]
    silence = [("selected", 14, 0.64, 0.57, 0.79), ("matched latents", 140, 0.06, 0.02, 0.15)]
    silence.append(("random dictionary", 14, 0.0, 0.0, 0.21))
    doses = (-8.0, -4.0, 0.0, 4.0, 8.0)
    curves, gains, ablation = [], [], []
    for i_side, side in enumerate(SIDES):
        arms = [
            ("features", "features", (0.041, 0.009)[i_side]),
            ("direction", "direction", (0.062, 0.012)[i_side]),
        ]
        arms += [("random", f"random {i}", float(rng.normal(0, 0.004))) for i in range(10)]
        for arm, arm_id, slope in arms:
            gains.append((side, arm, arm_id, slope, slope - 0.008, slope + 0.008))
            for dose in doses:
                stance = float(np.tanh(slope * dose)) - 0.03
                curves.append((side, arm, arm_id, dose, stance, stance - 0.07, stance + 0.07))
        for what, after in (("features", 0.14), ("random features", 0.3), ("direction", 0.1)):
            ablation.append((side, what, 0.01, 0.31, after))
    crosscoder = [
        (i, float(norm), kind, int(rng.integers(5, 900)), i < 6, float(rng.uniform(0.5, 0.9)), 0.1, 0.3)
        for i, (kind, norm) in enumerate(
            [("base-only", x) for x in rng.uniform(0, 0.1, 9)]
            + [("aligned-only", x) for x in rng.uniform(0.9, 1, 5)]
            + [("other", x) for x in rng.uniform(0, 1, 40)]
            + [("shared", x) for x in rng.uniform(0.4, 0.6, 900)]
            + [("inactive", 0.5)] * 20
        )
    ]
    ends = ["low", "high"]
    return {
        "features.latents": pd.DataFrame(latents),
        "features.contexts": pd.DataFrame(
            contexts, columns=["latent", "side", "rank", "source", "tokens", "codes", "peak"]
        ),
        "features.decomposition": pd.DataFrame(
            decomposition, columns=["side", "of", "part", "value", "total"]
        ),
        "features.fit": pd.DataFrame(
            fit,
            columns=[
                "side", "dictionary", "tokens", "fvu", "l0", "dead", "cross_entropy", "reconstructed", "zeroed",
                "recovered", "cost",
            ],
        ),
        "features.silence": pd.DataFrame(silence, columns=["kind", "latents", "silent", *ends]),
        "features.curves": pd.DataFrame(curves, columns=["side", "arm", "arm_id", "dose", "stance", *ends]),
        "features.gains": pd.DataFrame(gains, columns=["side", "arm", "arm_id", "gain", *ends]),
        "features.ablation": pd.DataFrame(
            ablation, columns=["side", "what", "mean_change", "spread_before", "spread_after"]
        ),
        "features.crosscoder": pd.DataFrame(
            crosscoder,
            columns=[
                "latent", "relative_norm", "kind", "active", "selected", "auroc", "error_ratio", "reconstruction_ratio",
            ],
        ),
    }  # fmt: skip
