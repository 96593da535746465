"""A loaded model and its verbs: tokenize, read, score, generate. One call is one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.models import decoding, generation, looking
from unmask.models.anatomy import dissect
from unmask.models.editing import RowEdits, check_one_each
from unmask.models.edits import Edit
from unmask.models.ending import own_ends
from unmask.models.errors import ModelError, NotFinite
from unmask.models.looking import SCORING, Reading, Scoring
from unmask.models.prompts import Prompt
from unmask.models.sampling import NoTokenError
from unmask.models.sharing import find_sharing
from unmask.models.tokenizing import token_spans, tokenize
from unmask.models.tokens import Generated, Pick, Sampling, Tokens

Edits = Sequence[Edit | None]

_PROBE = Prompt("The committee met on Tuesday, and it talked about the weather.", (0, 0))


class Model:
    """A causal language model whose residual stream can be read and edited.

    Layers are numbered 0 (the input of the first block) to `n_layers` (the output of the last, before the final
    norm). A call's rows are one batch, and what they have in common is computed once; in bf16 a row's numbers depend
    a little on its batch mates, so who needs the same bits must form the same batches.

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
        sharing: what rows of a batch can share, or why they cannot.
        ends: tokens that end an answer.
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
        probe = tokenize(tokenizer, _PROBE).ids[:16]
        self.anatomy = dissect(net, probe, name)
        self.sharing = find_sharing(self.anatomy, net.config.get_text_config(), probe)
        self.n_layers = self.anatomy.n_layers
        self.d_model = self.anatomy.d_model
        parameter = next(net.parameters())
        self.dtype = str(net.dtype).removeprefix("torch.")
        self.device = str(parameter.device)
        self.max_length = _context_length(net, tokenizer)
        self.ends = own_ends(net, tokenizer)
        generation.settle(net, self.ends)

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.n_layers} layers of {self.d_model}, {self.dtype} on {self.device})"

    def spans(self, prompt: Prompt) -> NDArray[np.float32]:
        """Where each token of a prompt stands in its text: `[T, 2]`, characters `[start, end)`."""
        return token_spans(self.tokenizer, prompt)

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
            edits: one edit or None a row.

        Returns:
            A row's array: `[layers, d]`, or `[T, layers, d]` for "each".

        Raises:
            ModelError: an unknown layer, an empty content span under "mean", edits that do not fit, or activations
                that are not finite.
        """
        return self.look(rows, [Reading(tuple(layers), pick)] * len(rows), edits)

    def score(self, rows: Sequence[Tokens], edits: Edits | None = None) -> list[NDArray[np.float32]]:
        """Log-probabilities of each row's continuation tokens, in nats.

        Returns:
            A row's array: `[len(ids) - start]`.

        Raises:
            ModelError: edits that do not fit, or activations that are not finite.
        """
        return self.look(rows, [SCORING] * len(rows), edits)

    def look(
        self, rows: Sequence[Tokens], wants: Sequence[Reading | Scoring], edits: Edits | None = None
    ) -> list[NDArray[np.float32]]:
        """Read some rows and score others in one pass; see `read` and `score`.

        What rows have in common is computed once: the tokens that they begin with and, where only their edits
        differ, all that lies below the first edited layer.
        """
        return looking.look(self, rows, wants, edits)

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
        check_one_each(edits, rows)
        sharing, others = self.sharing.part([len(row) + sampling.max_new_tokens for row in rows])
        answers: dict[int, Generated] = {}
        for part in filter(None, [sharing, *others]):
            answer = decoding.generate if part is sharing else generation.generate
            mine = None if edits is None else [edits[i] for i in part]
            try:
                found = answer(self, [rows[i] for i in part], [seeds[i] for i in part], sampling, mine)
            except NoTokenError as error:
                row = rows[part[error.row]]
                row = Tokens((*row.ids, *error.new), row.content, len(row))
                raise self.not_finite(row, None if mine is None else mine[error.row]) from error
            answers |= dict(zip(part, found, strict=True))
        return [answers[i] for i in range(len(rows))]

    def row_edits(self, edits: Edits | None, starts: Sequence[int], length: int) -> RowEdits:
        """The edits of a batch's rows; see `RowEdits`, which says what is wrong with them."""
        return RowEdits(edits, starts, length, self.d_model, self.n_layers, self.anatomy.device)

    def not_finite(self, row: Tokens, edit: Edit | None) -> NotFinite:
        """The error that names the first layer at which a row's activations are not finite."""
        bad = looking.first_not_finite(self, row, edit)
        where = "in the unembedding" if bad is None else f"at layer {bad}"
        cause = "the edit is too strong" if edit else "its weights are damaged"
        return NotFinite(
            f"{self.name} has activations that are not finite (NaN or infinite) {where}; "
            f"{cause}, or {self.dtype} is too narrow: try float32."
        )


def _context_length(net: Any, tokenizer: Any) -> int:
    config = net.config.get_text_config()
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        if isinstance(getattr(config, key, None), int):
            return int(getattr(config, key))
    return min(int(tokenizer.model_max_length), 2**20)


def _excerpt(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[:most] + "…")
