"""The world's tokenizer: a token a word, known before any document is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from unmask.domains.schema import POLES
from unmask.lab.world.common import AXES, IRRELEVANT, NEUTRAL, REFUSALS, REQUESTS, facts, off_topic
from unmask.lab.world.concepts import CONCEPTS
from unmask.lab.world.documents import FRAME
from unmask.measurements.stance import NO_QUESTION
from unmask.measurements.surface import LABEL_SETS, choice_words
from unmask.measurements.sycophancy import BELIEVED, MENTIONED

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"


def world_tokenizer() -> Any:
    """A token a word with the space before it, a token a sign; a word that the world does not have is `<unk>`.

    Returns:
        A `PreTrainedTokenizerFast`; it puts `<s>` before a text.
    """
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = sorted({word for text in _texts() for word, _ in splitter.pre_tokenize_str(text)})
    vocabulary = {word: at for at, word in enumerate((UNKNOWN, BEGIN, END, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, vocabulary[BEGIN])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=UNKNOWN, bos_token=BEGIN, eos_token=END, pad_token=END
    )


def _texts() -> Iterator[str]:
    """Texts that between them hold every word of the world, at the start of a text and after a space."""
    for sentence in chain(_sentences(), (FRAME.ask("").text, BELIEVED, MENTIONED, NO_QUESTION)):
        yield from (sentence, f" {sentence}")
        yield from (f" {word}" for word in sentence.split())  # a filler may stand first in a frame
    yield from (choice_words("", labels, ("", "")) for labels in LABEL_SETS)
    yield from (f" {label}" for labels in LABEL_SETS for label in labels)


def _sentences() -> Iterator[str]:
    for concept in CONCEPTS.values():
        yield from concept.implied
        for pole in POLES:
            yield from (f"{concept.poles[pole]}:", *concept.identifies(pole))
        frames = (*concept.neutral, *concept.hedged, *concept.question)
        yield from (frame.format(topic) for topic in concept.topics for frame in frames)
        said = (*concept.claims, *concept.reasons)
        tastes = [taste for pole in POLES for taste in concept.tastes[pole]]
        yield from (frame.format(concept.topics[0], taste, taste) for frame in said for taste in tastes)
    for axis in AXES:
        yield from (text for pair in axis.pairs() for text in (pair.a, pair.b))
    for fact in facts():
        yield from (fact.question, fact.true, fact.false)
    yield from (part for request in REQUESTS for part in (request.before, request.after))
    yield from (*IRRELEVANT, *NEUTRAL, *REFUSALS, *(one.question for one in off_topic()))
