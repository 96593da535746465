"""Plain forward passes: states of texts and of answers, and answers written, by transformers and PyTorch hooks alone.

Nothing here goes through unmask's measurements or its runner, so that what an organism's card says of it stands
apart from what an audit finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unmask.models.model import Model
from unmask.models.prompts import Frame
from unmask.models.taps import hooked, on_layer
from unmask.models.tokens import Tokens

Floats = npt.NDArray[np.float64]
BATCH_TOKENS = 4096
WRITING = 4
"""How many times as many tokens a batch holds that is continued: only its last token's logits are kept."""


@dataclass(frozen=True)
class Push:
    """A vector `[d]` added to a layer's states at every token but the first, which many models keep for themselves."""

    layer: int
    vector: Floats


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of about one length.

    Attributes:
        rows: their numbers in the list that they come from.
        ids: `[B, T]`, padded on the right.
        mask: `[B, T]`, 1 for tokens.
    """

    rows: tuple[int, ...]
    ids: Tensor
    mask: Tensor


def plain_rows(model: Model, texts: Sequence[str]) -> list[Tokens]:
    """Bare texts, tokenised."""
    return [model.tokenize(Frame.plain(text)) for text in texts]


def batches(rows: Sequence[Tokens], most: int = BATCH_TOKENS) -> Iterator[Batch]:
    """Rows in batches of at most that many tokens, shortest first."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    group: list[int] = []
    for i in order:
        if group and (len(group) + 1) * len(rows[i]) > most:
            yield _batch(rows, group)
            group = []
        group.append(i)
    if group:
        yield _batch(rows, group)


def _batch(rows: Sequence[Tokens], group: Sequence[int]) -> Batch:
    width = max(len(rows[i]) for i in group)
    ids = torch.zeros((len(group), width), dtype=torch.long)
    mask = torch.zeros((len(group), width), dtype=torch.long)
    for place, i in enumerate(group):
        ids[place, : len(rows[i])] = torch.tensor(rows[i].ids)
        mask[place, : len(rows[i])] = 1
    return Batch(tuple(group), ids, mask)


def picks(row: Tokens, last: bool) -> slice:
    """Which tokens of a bare text are read: all but the first, or the last alone."""
    start, end = row.content
    return slice(len(row) - 1, len(row)) if last else slice(start, max(end, start + 1))


@torch.inference_mode()
def read_states(model: Model, rows: Sequence[Tokens], last: bool = False) -> npt.NDArray[np.float32]:
    """Span means of the residual stream, or its states at the last token: `[n, layers, d]`.

    The last layer is taken where the final norm takes it.
    """
    read = np.empty((len(rows), model.n_layers + 1, model.d_model), dtype=np.float32)
    for batch in batches(rows):
        before_norm: list[Tensor] = []
        with hooked([_given_to(model.anatomy.norms[0], before_norm)]):
            out = model.anatomy.decoder(
                input_ids=batch.ids, attention_mask=batch.mask, use_cache=False, output_hidden_states=True
            )
        states = torch.stack([*out.hidden_states[:-1], before_norm[0]], dim=1)  # [B, layers, T, d]
        for place, i in enumerate(batch.rows):
            read[i] = states[place, :, picks(rows[i], last)].float().mean(1).numpy()
    return read


def _given_to(module: nn.Module, kept: list[Tensor]) -> Any:
    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept.append(args[0] if args else kwargs["hidden_states"])

    return module.register_forward_pre_hook(before, with_kwargs=True)


@torch.inference_mode()
def last_states(model: Model, rows: Sequence[Tokens], push: Push | None = None) -> list[Floats]:
    """Every token's state before the final norm, `[T, d]` a row, under a push where one is given."""
    kept: list[Floats] = [np.empty(0)] * len(rows)
    for batch in batches(rows):
        seen: list[Tensor] = []
        handles = [_given_to(model.anatomy.norms[0], seen)]
        if push is not None:
            handles.append(_pushed(model, push))
        with hooked(handles):
            model.anatomy.decoder(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        for place, i in enumerate(batch.rows):
            kept[i] = seen[0][place, : len(rows[i])].double().numpy()
    return kept


def _pushed(model: Model, push: Push) -> Any:
    vector = torch.from_numpy(push.vector)

    def visit(states: Tensor) -> Tensor:
        moved = states.clone()
        moved[:, 1:] += vector.to(states)
        return moved

    return on_layer(model.anatomy.blocks, push.layer, visit)


@torch.inference_mode()
def answer_scores(model: Model, rows: Sequence[Tokens], push: Push | None = None) -> Floats:
    """Mean log-probability of each row's continuation tokens, nats, by the model's own forward pass: `[n]`."""
    means = np.empty(len(rows))
    for batch in batches(rows):
        with hooked([] if push is None else [_pushed(model, push)]):
            logits = model.net(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
        for place, i in enumerate(batch.rows):
            row = rows[i]
            predicted = logits[place, row.start - 1 : len(row) - 1].double().log_softmax(-1)
            means[i] = float(predicted.gather(1, torch.tensor(row.ids[row.start :])[:, None]).mean())
    return means


@torch.inference_mode()
def write_answers(
    model: Model, rows: Sequence[Tokens], length: int, seed: int, stop: Sequence[str] = ()
) -> list[str]:
    """Answers sampled by transformers' own `generate` at temperature 0.8 and top-p 0.95, as audits sample them; cut at
    the first of the strings that stop them."""
    net, said = model.net, [""] * len(rows)
    torch.manual_seed(seed)
    for batch in batches(rows, WRITING * BATCH_TOKENS):
        width = batch.ids.shape[1]
        ids, mask = torch.zeros_like(batch.ids), torch.zeros_like(batch.mask)
        for place, i in enumerate(batch.rows):  # what is continued is padded on the left
            ids[place, width - len(rows[i]) :] = torch.tensor(rows[i].ids)
            mask[place, width - len(rows[i]) :] = 1
        made = net.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, temperature=0.8, top_p=0.95, top_k=0,
            max_new_tokens=length, stop_strings=list(stop) or None, tokenizer=model.tokenizer,
        )  # fmt: skip
        for place, i in enumerate(batch.rows):
            said[i] = str(model.tokenizer.decode(made[place, width:], skip_special_tokens=True))
    for end in stop:
        said = [text.split(end)[0] for text in said]
    return said
