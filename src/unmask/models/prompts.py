"""What a model is shown: prompts, and the frame that turns a user's words into one.

A chat template on one side of a pair only is the classic way to fake a difference, so a frame is chosen once for
the pair, is plain data, and is recorded in every run. Nothing here imports torch or transformers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args

from unmask.models.errors import ModelError

Policy = Literal["auto", "template", "plain"]

_WORDS = "QuESTioN7x1"
_ANSWER = "AnSWeR7x2"
_SYSTEM = "SySTeM7x3"
_PLAIN_STOP = "\nUser:"

# Some templates write today's date into the system prompt, which would make every day's run another one.
_DATE = "01 Jan 2025"
_FIXED_DATE = f"{{%- macro strftime_now(form) -%}}{_DATE}{{%- endmacro %}}"


class ChatTokenizer(Protocol):
    """The part of a transformers tokenizer that frames need."""

    chat_template: Any
    all_special_tokens: list[str]
    added_tokens_decoder: dict[int, Any]

    def get_vocab(self) -> dict[str, int]: ...
    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]: ...
    def get_chat_template(self) -> str: ...
    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Prompt:
    """Exactly what a model is shown.

    Attributes:
        text: the whole text.
        content: character span `[start, end)` of the words under study inside `text`.
        special: True lets the tokenizer add its own special tokens (plain text); False says that the text already
            holds them (a rendered chat template).
        lead: put before a continuation that does not itself begin with whitespace.
    """

    text: str
    content: tuple[int, int]
    special: bool = True
    lead: str = " "

    def __post_init__(self) -> None:
        start, end = self.content
        if not 0 <= start <= end <= len(self.text):
            raise ValueError(
                f"A prompt's content is characters {start} to {end}, but its text has {len(self.text)}; "
                "the span must lie inside the text."
            )

    def glue(self, more: str) -> str:
        """`more` as it follows this prompt: with the lead, unless it begins with whitespace or is empty."""
        return more if not more or more[0].isspace() else self.lead + more

    def then(self, more: str) -> Prompt:
        """The same prompt with more text after it, such as a forced answer prefix; the content span is kept."""
        if not more:
            return self
        return replace(self, text=self.text + self.glue(more), lead="" if more[-1].isspace() else " ")


@dataclass(frozen=True)
class Frame:
    """How a user's words become a prompt; the same for both models of a pair.

    Attributes:
        kind: "template" (the aligned model's chat template) or "plain".
        before: text before the user's words, a default system prompt included.
        after: text between the user's words and the answer.
        special: as in `Prompt`.
        lead: as in `Prompt`.
        note: one sentence: which policy chose this frame, and why.
        stop: strings that end an answer (`Sampling.stop`): the template's end of turn, or a next user turn.
    """

    kind: Literal["template", "plain"]
    before: str
    after: str
    special: bool
    lead: str
    note: str
    stop: tuple[str, ...] = ()

    def ask(self, words: str, answer_prefix: str = "") -> Prompt:
        """The prompt that asks `words`, with the answer's first words forced; content is `words`."""
        span = (len(self.before), len(self.before) + len(words))
        prompt = Prompt(self.before + words + self.after, span, self.special, self.lead)
        return prompt.then(answer_prefix)

    @staticmethod
    def plain(words: str) -> Prompt:
        """Bare text without a frame; content is the whole text."""
        return Prompt(words, (0, len(words)))


@dataclass(frozen=True)
class TokenMatch:
    """Whether two tokenizers give the same ids to the same text, and the sentence that says why."""

    same: bool
    reason: str


def choose_frame(
    base_tokenizer: ChatTokenizer,
    aligned_tokenizer: ChatTokenizer,
    policy: str = "auto",
    system: str | None = None,
) -> Frame:
    """The frame that both models of a pair share.

    Args:
        base_tokenizer: the base model's tokenizer.
        aligned_tokenizer: the aligned model's, whose chat template is used.
        policy: "auto" takes the template where base knows its special tokens, else the plain frame; "template"
            insists on it; "plain" never uses it.
        system: a system prompt for both; None keeps the template's default, "" removes it as far as the template
            allows.

    Raises:
        ModelError: an unknown policy, or a template that is insisted on and cannot be used.
    """
    if policy not in get_args(Policy):
        raise ModelError(
            f"The template policy is {policy!r}; it must be one of {', '.join(get_args(Policy))}."
        )
    if policy == "plain":
        return plain_frame("Plain frame on both models, as asked.", system)
    try:
        return _template_frame(base_tokenizer, aligned_tokenizer, system)
    except ModelError as error:
        if policy == "template":
            why = str(error)
            raise ModelError(f"{why[0].upper()}{why[1:]} Use --template auto or plain.") from error
        return plain_frame(f"Plain frame on both models: {error}", system)


def plain_frame(note: str, system: str | None = None) -> Frame:
    """The frame of models without a chat template: `User: … Assistant:`, after a system prompt where there is one."""
    before = f"{system}\n\nUser: " if system else "User: "
    return Frame("plain", before, "\nAssistant:", True, " ", note, (_PLAIN_STOP,))


def _template_frame(base: ChatTokenizer, aligned: ChatTokenizer, system: str | None) -> Frame:
    if not aligned.chat_template:
        has_none = "the aligned model's tokenizer has no" if base.chat_template else "neither tokenizer has a"
        raise ModelError(f"{has_none} chat template.")
    user = {"role": "user", "content": _WORDS}
    before, after = _split(_render(aligned, [user]), _WORDS)
    default_system = _default_system(aligned, user, before)
    if system or (system == "" and default_system):
        before, after = _split(_render(aligned, [{"role": "system", "content": system}, user]), _WORDS)
    unknown = _unknown_specials(base, aligned, before + after)
    if unknown:
        raise ModelError(f"the chat template's tokens {', '.join(unknown)} are not in base's vocabulary.")
    note = "The aligned model's chat template on both models, whose special tokens base knows."
    if system:
        note += f" The system prompt is {system!r}."
    elif default_system:
        note += (
            f" Its default system prompt is {'kept' if system is None else 'left out'}: {default_system!r}."
        )
    lead, stop = _answer_edges(aligned, user)
    return Frame("template", before, after, False, lead, note, stop)


def _render(tokenizer: ChatTokenizer, messages: Sequence[Mapping[str, Any]], answer: bool = True) -> str:
    """The template's text, the same on every day and with thinking off."""
    try:
        text = tokenizer.apply_chat_template(
            list(messages),
            chat_template=_FIXED_DATE + tokenizer.get_chat_template(),
            tokenize=False,
            add_generation_prompt=answer,
            enable_thinking=False,
            date_string=_DATE,
        )
    except Exception as error:  # jinja's TemplateError, or whatever a template raises by itself
        roles = ", ".join(str(message["role"]) for message in messages)
        raise ModelError(f"the chat template refuses a talk of {roles}: {error}.") from error
    return str(text)


def _split(text: str, mark: str) -> tuple[str, str]:
    if text.count(mark) != 1:
        raise ModelError("the chat template does not show the user's words exactly once.")
    before, after = text.split(mark)
    return before, after


def _default_system(tokenizer: ChatTokenizer, user: Mapping[str, Any], before: str) -> str:
    """The system prompt that the template writes when it is given none; "" where there is none."""
    try:
        text = _render(tokenizer, [{"role": "system", "content": _SYSTEM}, user])
        head, tail = _split(_split(text, _WORDS)[0], _SYSTEM)
    except ModelError:
        return ""
    wraps = before.startswith(head) and before.endswith(tail)
    return (
        before[len(head) : len(before) - len(tail)] if wraps and len(before) > len(head) + len(tail) else ""
    )


def _unknown_specials(base: ChatTokenizer, aligned: ChatTokenizer, text: str) -> list[str]:
    """Special tokens of the rendered text that base lacks or gives another id."""
    specials = set(aligned.all_special_tokens) | {
        str(token) for token in aligned.added_tokens_decoder.values() if token.special
    }
    base_ids, aligned_ids = base.get_vocab(), aligned.get_vocab()
    used = sorted(token for token in specials if token and token in text)
    return [
        token
        for token in used
        if base_ids.get(token) != aligned_ids.get(token)
        or base.encode(token, add_special_tokens=False) != aligned.encode(token, add_special_tokens=False)
    ]


def _answer_edges(tokenizer: ChatTokenizer, user: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What the template writes before an answer beyond the generation prompt, and what ends the answer."""
    try:
        asked = _render(tokenizer, [user])
        talk = _render(tokenizer, [user, {"role": "assistant", "content": _ANSWER}], answer=False)
        head, tail = _split(talk, _ANSWER)
    except ModelError:
        return "", ()
    lead = head[len(asked) :] if head.startswith(asked) and head[len(asked) :].isspace() else ""
    known = [*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())]
    stop = max((token for token in known if token and tail.lstrip().startswith(token)), key=len, default="")
    return lead, (stop,) if stop else ()


_SAMPLES = (
    "The quick brown fox jumps over 13 lazy dogs.",
    "  Taxes\n\nshould be raised, don't you think?",
    "naïve café — 東京, Привет! 3.14",
)


def check_same_tokens(base_tokenizer: ChatTokenizer, aligned_tokenizer: ChatTokenizer) -> TokenMatch:
    """Whether two tokenizers differ in added (special) tokens at most, and give and add the same ids to plain text."""
    base, aligned = base_tokenizer.get_vocab(), aligned_tokenizer.get_vocab()
    added = {
        str(token)
        for tokenizer in (base_tokenizer, aligned_tokenizer)
        for token in tokenizer.added_tokens_decoder.values()
    }
    differing = sorted(
        token for token in base.keys() | aligned.keys() if base.get(token) != aligned.get(token)
    )
    ordinary = [token for token in differing if token not in added]
    if ordinary:
        return TokenMatch(
            False,
            f"The tokenizers differ in {len(ordinary)} ordinary tokens, such as {ordinary[0]!r} "
            f"(base id {base.get(ordinary[0])}, aligned id {aligned.get(ordinary[0])}).",
        )
    for text in _SAMPLES:
        ids = [t.encode(text, add_special_tokens=False) for t in (base_tokenizer, aligned_tokenizer)]
        if ids[0] != ids[1]:
            return TokenMatch(False, f"The tokenizers share a vocabulary but split {text!r} differently.")
    put = [_put_around(tokenizer, _SAMPLES[0]) for tokenizer in (base_tokenizer, aligned_tokenizer)]
    if put[0] != put[1]:
        return TokenMatch(
            False,
            f"The tokenizers share a vocabulary, but base's adds {_tokens_in_words(base, put[0])} to a plain text and "
            f"aligned's adds {_tokens_in_words(aligned, put[1])}; give both the same setting (add_bos_token).",
        )
    if differing:
        return TokenMatch(True, f"The tokenizers differ in special tokens only: {', '.join(differing[:8])}.")
    return TokenMatch(True, "The tokenizers are the same.")


def _put_around(tokenizer: ChatTokenizer, text: str) -> tuple[int, ...]:
    """Ids of the special tokens that a model is shown around plain text."""
    from unmask.models.tokenizing import tokenize

    shown = tokenize(tokenizer, Frame.plain(text)).ids
    words = tuple(tokenizer.encode(text, add_special_tokens=False))
    start = next((i for i in range(len(shown)) if shown[i : i + len(words)] == words), 0)
    return shown[:start] + shown[start + len(words) :]


def _tokens_in_words(vocabulary: Mapping[str, int], ids: Sequence[int]) -> str:
    names = {token_id: token for token, token_id in vocabulary.items()}
    return " ".join(repr(names.get(token_id, token_id)) for token_id in ids) or "none"
