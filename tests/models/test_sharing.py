"""Whatever rows of a batch share, each comes out as if run alone and plainly, and nothing shared is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.tiny import ARCHITECTURES, TEXTS, relative, tiny_net, tiny_tokenizer
from unmask.models import (
    Add,
    Clamp,
    Edit,
    Erase,
    Frame,
    Patch,
    ProjectOut,
    Sampling,
    Tokens,
    Vector,
    attention,
    forward,
    looking,
)
from unmask.models.looking import SCORING, Reading, Scoring
from unmask.models.model import Model
from unmask.models.taps import hooked, on_layer
from unmask.models.tree import Path, Stage, stages

RNG = np.random.default_rng(3)
V, W = (Vector(key, RNG.normal(size=32).astype(np.float32)) for key in "vw")
SMALL = Vector("small", 0.1 * V.values)
CANNOT = {"bloom", "falcon"}
SLOW = [HealthCheck.too_slow]  # a busy machine is no finding
BINDING: dict[str, dict[str, Any]] = {
    "gemma2": {"attn_logit_softcapping": 1.0}
}  # 50 would change no score here


@cache
def tiny(kind: str) -> Model:
    return Model(tiny_net(kind, **BINDING.get(kind, {})), tiny_tokenizer(), kind, kind)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_who_cannot_share_says_why(kind: str) -> None:
    assert bool(tiny(kind).sharing.refusal) == (kind in CANNOT)


prefixes = st.sampled_from(["", "You are a farmer. ", "You are a farmer. Taxes should be lower, say some; "])
questions = st.sampled_from([TEXTS[0], TEXTS[1], "What now?", "Hi"])
ends = st.sampled_from(["", "yes", "it depends on the weather", "it depends on you"])
layers = st.lists(st.integers(0, 3), min_size=1, max_size=2, unique=True).map(tuple)
place: dict[str, Any] = {
    "layers": layers,
    "where": st.sampled_from(["all", "prompt", "generated"]),
    "skip_first": st.booleans(),
    "positions": st.sampled_from([None, (2, 5), (1,), (40,)]),
}
valued = {"positions": st.sampled_from([None, (2, 5)])}
edits = st.one_of(
    st.none(),
    st.builds(Add, vector=st.sampled_from([V, W]), dose=st.sampled_from([-2.0, 0.5]), **place),
    st.builds(ProjectOut, basis=st.sampled_from([(V,), (V, W)]), **place),
    st.builds(Erase, left=st.just(V), right=st.just(SMALL), at=st.sampled_from([0.0, 1.5]), **place),
    st.builds(Clamp, vector=st.just(W), value=st.sampled_from([0.0, 3.0]), **place),
    st.builds(Patch, vector=st.just(W), values=st.just((0.5,) * 6), key=st.just("halves"), **{**place, **valued}),
)  # fmt: skip
wants = st.one_of(
    st.just(SCORING),
    st.builds(Reading, layers, st.sampled_from(["mean", "last", "each"])),
)
rows = st.tuples(prefixes, questions, ends, edits, wants)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@settings(max_examples=12, deadline=None, suppress_health_check=SLOW)
@given(st.lists(rows, min_size=1, max_size=10))
def test_any_mix_of_reads_scores_and_edits_is_each_row_alone(kind: str, asked: list[Any]) -> None:
    assert_each_is_alone(tiny(kind), asked)


@pytest.mark.parametrize("kind", ARCHITECTURES)
@settings(max_examples=8, deadline=None, suppress_health_check=SLOW)
@given(st.lists(rows, min_size=6, max_size=10), st.sampled_from([64, 2**21]))
def test_so_it_is_where_a_batch_is_large_enough_to_be_cut(kind: str, asked: list[Any], large: int) -> None:
    model = tiny(kind)
    with pytest.MonkeyPatch.context() as patch:
        for module, limit, value in (
            (attention, "_ROWS", 2),
            (attention, "_SMALL", 0),
            (attention, "_LARGE", large),
            (forward, "_SMALL", 16),
            (looking, "_PADDED_TOKENS", 64),
        ):
            patch.setattr(module, limit, value)
        assert_each_is_alone(model, asked)


def assert_each_is_alone(model: Model, asked: list[Any]) -> None:
    batch = [model.tokenize(Frame.plain(prefix + question), end) for prefix, question, end, _, _ in asked]
    given_ = [edit for *_, edit, _ in asked]
    chosen: list[Reading | Scoring] = [want for *_, want in asked]
    found = model.look(batch, chosen, given_)
    for row, want, edit, array in zip(batch, chosen, given_, found, strict=True):
        expected = alone(model, row, want, edit)
        assert array.shape == expected.shape
        if isinstance(want, Scoring):
            np.testing.assert_allclose(array, expected, atol=1e-4)
        else:
            assert relative(array, expected) < 1e-5


def alone(model: Model, row: Tokens, want: Reading | Scoring, edit: Edit | None) -> np.ndarray:
    """What is wanted of a row, from one plain forward."""
    states, log_probs = plainly(model, row, edit)
    if isinstance(want, Scoring):
        scores = [float(log_probs[t - 1, row.ids[t]]) for t in range(row.start, len(row))]
        return np.array(scores, dtype=np.float32)
    read = torch.stack([states[layer] for layer in want.layers], dim=1).numpy()
    start, end = row.content
    return {"each": read, "last": read[-1], "mean": read[start:end].mean(axis=0)}[want.pick]


@torch.inference_mode()
def plainly(model: Model, row: Tokens, edit: Edit | None) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    """States of every layer and log-probabilities from a forward of the transformers model, an edit written out."""
    states: dict[int, torch.Tensor] = {}

    def visit(layer: int) -> Callable[[torch.Tensor], torch.Tensor]:
        def hook(hidden: torch.Tensor) -> torch.Tensor:
            hidden = hidden.clone()
            if edit is not None and layer in edit.layers:
                for t in range(len(row)):
                    if touches(edit, row, t):
                        hidden[0, t] = changed(edit, hidden[0, t], t)
            states[layer] = hidden[0]
            return hidden

        return hook

    handles = [on_layer(model.anatomy.blocks, layer, visit(layer)) for layer in range(model.n_layers + 1)]
    with hooked(handles):
        out = model.net(input_ids=torch.tensor([row.ids]), use_cache=False)
    return states, out.logits[0].log_softmax(dim=-1)


def touches(edit: Edit, row: Tokens, t: int) -> bool:
    in_where = {"all": True, "prompt": t < row.start, "generated": t >= row.start}[edit.where]
    named = edit.positions is None or t in edit.positions
    has_value = not isinstance(edit, Patch) or t < len(edit.values)
    return in_where and named and has_value and (t > 0 or not edit.skip_first)


def changed(edit: Edit, h: torch.Tensor, t: int) -> torch.Tensor:
    match edit:
        case Add():
            return h + edit.dose * torch.from_numpy(edit.vector.values)
        case ProjectOut():
            basis = torch.from_numpy(np.linalg.qr(np.stack([v.values for v in edit.basis]).T)[0])
            return h - basis @ (basis.T @ h)
        case Erase():
            left, right = (torch.from_numpy(v.values) for v in (edit.left, edit.right))
            return h - (h @ right - edit.at) * left
        case Clamp() | Patch():
            unit = torch.from_numpy(edit.vector.values / np.linalg.norm(edit.vector.values))
            value = edit.value if isinstance(edit, Clamp) else edit.values[t]
            return h + (value - h @ unit) * unit


@dataclass(frozen=True)
class Seen:
    """Tokens that each block computed and rows that the head unembedded, a number a pass."""

    blocks: list[list[int]]
    head: list[int]


@contextmanager
def counting(model: Model) -> Generator[Seen]:
    """Counts where a Llama computes: a block that is skipped is called as well, but not its MLP."""
    seen = Seen([[] for _ in model.anatomy.blocks], [])

    def count(passes: list[int]) -> Callable[[Any, tuple[Any, ...]], None]:
        return lambda _, args: passes.append(args[0].shape[:-1].numel())

    inner: Any = model.anatomy.blocks
    handles = [
        block.mlp.register_forward_pre_hook(count(passes))
        for block, passes in zip(inner, seen.blocks, strict=True)
    ]
    with hooked([*handles, model.anatomy.head.register_forward_pre_hook(count(seen.head))]):
        yield seen


def up(count: int, step: int) -> int:
    return -(-count // step) * step


def tokens_run(count: int) -> int:
    """With spare ones, for the sake of few shapes."""
    return up(count, 8 if count <= 512 else 64)


def beginnings(rows: Sequence[tuple[int, ...]], first: int = 1) -> set[tuple[int, ...]]:
    return {row[:t] for row in rows for t in range(first, len(row) + 1)}


@pytest.mark.parametrize(("personas", "large"), [(4, False), (20, True)])
def test_a_grid_of_personas_runs_each_prefix_once_and_unembeds_what_is_scored(
    personas: int, large: bool
) -> None:
    model = tiny("llama")
    rows = [
        model.tokenize(Frame.plain(f"You are farmer {who} of this river. {question}"), end)
        for who in range(personas)
        for question in (TEXTS[0], "What now?")
        for end in (" yes", " no", " it depends on you", " it depends on the weather")
    ]
    followed = [row.ids[:-1] for row in rows]
    run = len(beginnings(followed))
    scored = len({prefix for row in rows for prefix in beginnings([row.ids[:-1]], row.start)})
    assert (run > 512) == large
    assert 3 * tokens_run(run) < sum(map(len, followed))
    with counting(model) as seen:
        model.score(rows)
    assert seen == Seen([[tokens_run(run)]] * 3, [up(scored, 32)])
    assert 2 * seen.head[0] < run


@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize(
    ("place", "first"),
    [({"skip_first": False}, 0), ({}, 1), ({"where": "generated"}, 30), ({"positions": (38,)}, 38)],
    ids=["every token", "all but the first", "the answer", "the last"],
)
def test_doses_share_what_lies_below_and_before_the_edit(
    layer: int, place: dict[str, Any], first: int
) -> None:
    model = tiny("llama")
    row = Tokens(tuple(range(100, 140)), (1, 30), start=30)
    run = len(row) - 1  # nothing follows the last token
    doses = [Add((layer,), V, float(dose), **place) for dose in range(-5, 6)]
    with counting(model) as seen:
        model.score([row] * 11, doses)
    above = first + 11 * (run - first)
    scored = sum(1 if t < first else 11 for t in range(row.start - 1, run))
    assert seen.blocks == [[tokens_run(run)]] * layer + [[tokens_run(above)]] * (3 - layer)
    assert seen.head == [up(scored, 32)]


@pytest.mark.parametrize("depths", [(0, 0), (2, 2), (0, 2), (3, 1)])
def test_a_block_runs_for_rows_that_are_read_past_it(depths: tuple[int, int]) -> None:
    model = tiny("llama")
    rows = [model.tokenize(Frame.plain(TEXTS[0] + more)) for more in (" " + TEXTS[1], "")]
    with counting(model) as seen:
        model.look(rows, [Reading((depth,), "mean") for depth in depths])
    for block, passes in enumerate(seen.blocks):
        going = [row.ids for row, depth in zip(rows, depths, strict=True) if depth > block]
        assert passes == ([tokens_run(len(beginnings(going)))] if going else [])
    assert seen.head == []


def test_finished_rows_leave_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny("llama")
    batch = [model.tokenize(Frame.plain(text)) for text in TEXTS]
    long = [answer.text for answer in model.generate(batch, range(5), Sampling(20))]
    stops = tuple({text[4:7] for text in long[:3]})
    fed: list[int] = []
    handle = model.anatomy.blocks[0].register_forward_pre_hook(lambda _, args: fed.append(args[0].shape[1]))
    answers = model.generate(batch, range(5), Sampling(20, stop=stops))
    handle.remove()
    assert any(answer.finished for answer in answers)
    alive = fed[1:]
    assert alive == sorted(alive, reverse=True)
    assert alive[0] > alive[-1]


def test_a_prompt_runs_once_for_all_its_samples() -> None:
    model = tiny("llama")
    row = model.tokenize(Frame.plain(TEXTS[2]))
    fed: list[int] = []
    handle = model.anatomy.blocks[0].register_forward_pre_hook(lambda _, args: fed.append(args[0].shape[1]))
    model.generate([row] * 6, range(6), Sampling(4))
    handle.remove()
    assert len(row) <= fed[0] < 2 * len(row)
    assert fed[1:] == [6] * 3


def test_stages_split_at_edits_and_end_at_reads() -> None:
    made = stages(
        [
            Path((5, 6, 7), depth=4),
            Path((5, 6, 7), depth=4, edit=0, layer=2, position=1),
            Path((5, 6, 7), depth=4, edit=1, layer=2, position=2),
            Path((5, 6, 8), depth=1),
        ]
    )

    def shape(stage: Stage) -> tuple[int, int, int]:
        return stage.first, stage.last, len(stage.tree)

    assert [shape(stage) for stage in made] == [(0, 1, 4), (1, 1, 4), (1, 2, 3), (2, 4, 6), (4, 4, 6)]


def test_a_window_that_attention_does_not_name_limits_what_is_shared() -> None:
    net = tiny_net("gemma3", sliding_window=40, max_position_embeddings=512)
    assert Model(net, tiny_tokenizer(), "gemma3", "gemma3").sharing.reach > 1000
    for module in net.modules():
        if hasattr(module, "sliding_window"):
            module.sliding_window = None  # the mask alone would tell now, and no mask is made
    model = Model(net, tiny_tokenizer(), "gemma3", "gemma3")
    assert model.sharing.reach == 40
    short, long = (model.tokenize(Frame.plain(text)) for text in (TEXTS[0], " ".join(TEXTS)))
    assert len(short) <= 40 < len(long)
    assert not model.sharing.refuses([len(short)])
    assert "beyond 40" in model.sharing.refuses([len(short), len(long)])
    for row, found in zip([short, long], model.read([short, long], [3], "last"), strict=True):
        assert relative(found, alone(model, row, Reading((3,), "last"), None)) < 1e-5
