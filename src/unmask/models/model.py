"""A loaded model and its verbs: tokenize, read, score, generate. One call is one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.models import generation
from unmask.models.anatomy import dissect
from unmask.models.edits import Edit
from unmask.models.errors import ModelError, NotFinite
from unmask.models.hooks import Layout, editing, watching
from unmask.models.prompts import Prompt
from unmask.models.sampling import NoTokenError
from unmask.models.tokenizing import tokenize
from unmask.models.tokens import Generated, Pick, Sampling, Tokens

Edits = Sequence[Edit | None]

_PROBE = Prompt("The committee met on Tuesday, and it talked about the weather.", (0, 0))
_LOGITS_AT_ONCE = 2**24


class Model:
    """A causal language model whose residual stream can be read and edited.

    Layers are numbered 0 (the input of the first block) to `n_layers` (the output of the last, before the final
    norm). A call's rows are one batch, padded on the right to the longest; in bf16 a row's numbers depend a little
    on its batch mates, so who needs the same bits must form the same batches.

    Attributes:
        name: the reference in words.
        identity: hex hash of weights, config, tokenizer, adapters and noise.
        n_layers: number of blocks.
        d_model: width of the residual stream.
        dtype: "float32", "bfloat16" or "float16".
        device: "cpu", "cuda:0", "mps", …
        max_length: most tokens in a row.
        tokenizer: the transformers tokenizer.
        net: the transformers model.
        anatomy: its parts.
    """

    def __init__(self, net: Any, tokenizer: Any, name: str, identity: str) -> None:
        """Take a transformers model over: eval mode, no gradients, its own sampling defaults removed.

        Raises:
            ModelError: the architecture cannot be read faithfully; see `anatomy.dissect`.
        """
        self.net = net.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.identity = identity
        self.anatomy = dissect(net, tokenize(tokenizer, _PROBE).ids[:16], name)
        self.n_layers = self.anatomy.n_layers
        self.d_model = self.anatomy.d_model
        parameter = next(net.parameters())
        self.dtype = str(net.dtype).removeprefix("torch.")
        self.device = str(parameter.device)
        self.max_length = _context_length(net, tokenizer)
        self._ends = generation.own_ends(net, tokenizer)
        generation.settle(net, self._ends)

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.n_layers} layers of {self.d_model}, {self.dtype} on {self.device})"

    def tokenize(self, prompt: Prompt, continuation: str = "") -> Tokens:
        """The row for a prompt and a continuation, tokenised apart: the prompt's lead stands between them.

        Raises:
            ModelError: they are longer than the context, nothing is left of them, or the tokenizer gives ids that
                the model has no embedding for.
        """
        row = tokenize(self.tokenizer, prompt, continuation)
        if len(row) > self.max_length:
            raise ModelError(
                f"The text has {len(row)} tokens ({row.start} of the prompt, {len(row) - row.start} of the "
                f"continuation), but {self.name} takes at most {self.max_length}; shorten it: {_excerpt(prompt.text)}"
            )
        if not row.ids or row.start == 0:
            raise ModelError(
                f"The prompt {_excerpt(prompt.text)} has no tokens, and the tokenizer of {self.name} has no start "
                "token to stand for it; give a prompt with at least one token."
            )
        if max(row.ids) >= self.anatomy.vocabulary:
            raise ModelError(
                f"The tokenizer of {self.name} gives id {max(row.ids)}, but the model embeds "
                f"{self.anatomy.vocabulary} tokens; tokenizer and weights are not of the same model."
            )
        return row

    def read(
        self, rows: Sequence[Tokens], layers: Sequence[int], pick: Pick, edits: Edits | None = None
    ) -> list[NDArray[np.float32]]:
        """The residual stream, after any edit; blocks past the deepest layer and the unembedding are not computed.

        Args:
            rows: the batch.
            layers: layer numbers, in the order wanted.
            pick: "mean" over each row's content span, "last" token, or "each" token.
            edits: one edit or None a row, all of one shape (`edit_shape`).

        Returns:
            A row's array: `[layers, d]`, or `[T, layers, d]` for "each".

        Raises:
            ModelError: an unknown layer, an empty content span under "mean", edits that do not fit, or activations
                that are not finite.
        """
        if not rows or not layers:
            return [np.zeros((0, self.d_model), np.float32) for _ in rows]
        self._check_layers(layers)
        ids, layout = self._batch(rows)
        spans = _span_weights(rows, ids.shape[1], self.name).to(ids.device) if pick == "mean" else None
        every = torch.arange(len(rows), device=ids.device)
        taken: dict[int, Tensor] = {}

        def take(layer: int, states: Tensor) -> None:
            if spans is not None:
                taken[layer] = torch.bmm(spans[:, None], states.float())[:, 0]
            elif pick == "last":
                taken[layer] = states[every, layout.lengths - 1].float()
            else:
                taken[layer] = states.float().cpu()

        self._watch(ids, layout, edits, sorted(set(layers)), take)
        stacked = torch.stack([taken[layer] for layer in layers], dim=-2).cpu().numpy()
        picked = [stacked[i, : len(row)] if pick == "each" else stacked[i] for i, row in enumerate(rows)]
        if not all(np.isfinite(array).all() for array in picked):
            raise self._not_finite(ids, layout, edits)
        return picked

    def score(self, rows: Sequence[Tokens], edits: Edits | None = None) -> list[NDArray[np.float32]]:
        """Log-probabilities of each row's continuation tokens, in nats.

        Returns:
            A row's array: `[len(ids) - start]`.

        Raises:
            ModelError: edits that do not fit, or activations that are not finite.
        """
        wanted = [len(row) - row.start for row in rows]
        if not any(wanted):
            return [np.zeros(0, np.float32) for _ in rows]
        ids, layout = self._batch(rows)
        with torch.inference_mode(), editing(self.anatomy, edits, layout):
            out = self.anatomy.decoder(input_ids=ids, use_cache=False, **self._mask(ids, layout))
            states = out.last_hidden_state
            which = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(wanted)).to(ids.device)
            at = torch.cat([torch.arange(row.start, len(row)) for row in rows]).to(ids.device)
            scores = self._log_probs(states[which, at - 1], ids[which, at]).cpu().numpy()
        if np.isnan(scores).any():
            raise self._not_finite(ids, layout, edits)
        return np.split(scores, np.cumsum(wanted)[:-1])

    def generate(
        self, rows: Sequence[Tokens], seeds: Sequence[int], sampling: Sampling, edits: Edits | None = None
    ) -> list[Generated]:
        """Sample one answer a row.

        A row's random numbers come from its seed alone, so in fp32 its text does not depend on its batch mates.

        Args:
            rows: the batch; continuation tokens, if any, are taken as the answer's forced beginning.
            seeds: one a row.
            sampling: shared by the batch.
            edits: one edit or None a row; with where="generated" they touch new tokens only.

        Raises:
            ModelError: seeds or edits that do not fit, rows too long to answer within the context, or activations
                that are not finite.
        """
        if len(seeds) != len(rows):
            raise ModelError(f"There are {len(seeds)} seeds for {len(rows)} rows; give one a row.")
        if not rows:
            return []
        longest = max(map(len, rows))
        if longest + sampling.max_new_tokens > self.max_length:
            raise ModelError(
                f"A row has {longest} tokens and {sampling.max_new_tokens} more are asked for, but {self.name} "
                f"takes at most {self.max_length}; shorten the prompt or lower max_new_tokens."
            )
        try:
            return generation.generate(
                self.net, self.anatomy, self.tokenizer, self._ends, rows, seeds, sampling, edits
            )
        except NoTokenError as error:
            row = rows[error.row]
            ids, layout = self._batch([Tokens((*row.ids, *error.new), row.content, len(row))])
            raise self._not_finite(ids, layout, edits and [edits[error.row]]) from error

    def _batch(self, rows: Sequence[Tokens]) -> tuple[Tensor, Layout]:
        """Ids `[B, T]` padded on the right, each row with its own last token, and where the rows stand."""
        width = max(map(len, rows))
        padded = [[*row.ids, *[row.ids[-1]] * (width - len(row))] for row in rows]
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        starts = torch.tensor([row.start for row in rows], device=self.device)
        return torch.tensor(padded, device=self.device), Layout(lengths, starts, torch.zeros_like(lengths))

    def _mask(self, ids: Tensor, layout: Layout) -> dict[str, Tensor]:
        """No mask where causal attention makes padding harmless: SDPA keeps its fast path."""
        if not self.anatomy.needs_mask:
            return {}
        columns = torch.arange(ids.shape[1], device=ids.device)
        return {"attention_mask": (columns < layout.lengths[:, None]).long()}

    def _watch(
        self, ids: Tensor, layout: Layout, edits: Edits | None, layers: Sequence[int], take: Any
    ) -> None:
        with (
            torch.inference_mode(),
            editing(self.anatomy, edits, layout),
            watching(self.anatomy, layers, take),
        ):
            self.anatomy.decoder(input_ids=ids, use_cache=False, **self._mask(ids, layout))

    def _log_probs(self, normed: Tensor, targets: Tensor) -> Tensor:
        """Log-probabilities `[N]` of targets `[N]` from final states `[N, d]`, never more than a chunk of logits."""
        step = max(1, _LOGITS_AT_ONCE // self.anatomy.vocabulary)
        chunks: list[Tensor] = []
        for states, tokens in zip(normed.split(step), targets.split(step), strict=True):
            logits = self.anatomy.unembed(states).float()
            chunks.append(logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(dim=-1))
        return torch.cat(chunks)

    def _check_layers(self, layers: Sequence[int]) -> None:
        unknown = [layer for layer in layers if not 0 <= layer <= self.n_layers]
        if unknown:
            raise ModelError(
                f"{self.name} has layers 0 to {self.n_layers}; layer {unknown[0]} was asked for."
            )

    def _not_finite(self, ids: Tensor, layout: Layout, edits: Edits | None) -> NotFinite:
        """The error that names the first layer whose activations are not finite."""
        bad: list[int] = []
        real = torch.arange(ids.shape[1], device=ids.device) < layout.lengths[:, None]

        def look(layer: int, states: Tensor) -> None:
            if not torch.isfinite(states[real]).all():
                bad.append(layer)

        self._watch(ids, layout, edits, range(self.n_layers + 1), look)
        where = f"at layer {bad[0]}" if bad else "in the unembedding"
        cause = "the edit is too strong" if edits and any(edits) else "its weights are damaged"
        return NotFinite(
            f"{self.name} has activations that are not finite (NaN or infinite) {where}; "
            f"{cause}, or {self.dtype} is too narrow: try float32."
        )


def _span_weights(rows: Sequence[Tokens], width: int, name: str) -> Tensor:
    """`[B, T]` weights that average over each row's content span."""
    weights = torch.zeros(len(rows), width)
    for i, row in enumerate(rows):
        start, end = row.content
        if not start < end <= len(row):
            raise ModelError(
                f"Row {i} has no content tokens to average for {name}: the sequence's first token and the template's "
                "are left out, and nothing else was there; give it longer words or a frame around them."
            )
        weights[i, start:end] = 1 / (end - start)
    return weights


def _context_length(net: Any, tokenizer: Any) -> int:
    config = net.config.get_text_config()
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if isinstance(getattr(config, key, None), int):
            return int(getattr(config, key))
    return min(int(tokenizer.model_max_length), 2**20)


def _excerpt(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[:most] + "…")
