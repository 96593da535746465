"""Special tokens at either end, sentencepiece's first space, and tokenizers without offsets."""

from __future__ import annotations

from types import SimpleNamespace

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from models.tiny import TEXTS, tiny_tokenizer
from unmask.models import Frame, Prompt
from unmask.models.tokenizing import token_spans, tokenize


def with_ends(bos: bool, eos: bool) -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    single = f"{'<|bos|>:0 ' if bos else ''}$A:0{' <|im_end|>:0' if eos else ''}"
    ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<|bos|>", "<|im_end|>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=ids
    )
    return tokenizer


def test_start_tokens_stay_and_end_tokens_go() -> None:
    tokenizer = with_ends(bos=True, eos=True)
    row = tokenize(tokenizer, Frame.plain(TEXTS[0]), "yes")
    assert tokenizer.decode(row.ids) == f"<|bos|>{TEXTS[0]} yes"
    assert row.content == (1, row.start)
    bare = tokenize(tokenizer, Prompt(TEXTS[0], (0, 5), special=False))
    assert tokenizer.decode(bare.ids) == TEXTS[0]
    assert tokenize(tokenizer, Frame.plain("")).ids == (0,)


def test_spans_say_where_each_token_stands() -> None:
    tokenizer, text = with_ends(bos=True, eos=True), TEXTS[0]
    spans = token_spans(tokenizer, Frame.plain(text)).astype(int).tolist()
    row = tokenize(tokenizer, Frame.plain(text))
    assert len(spans) == len(row.ids)  # the end token is in neither
    assert spans[0] == [0, 0]
    assert [text[start:end] for start, end in spans[1:]] == [tokenizer.decode([id_]) for id_ in row.ids[1:]]
    assert token_spans(with_ends(bos=False, eos=False), Frame.plain("")).tolist() == [[0, 0]]  # a lone start


def test_a_special_token_in_the_text_stays_at_its_end() -> None:
    tokenizer = with_ends(bos=True, eos=False)
    row = tokenize(tokenizer, Prompt("Hello<|im_end|>", (0, 5), special=False))
    assert tokenizer.decode(row.ids) == "Hello<|im_end|>"


def metaspace() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace()
    alphabet = sorted(set("".join(TEXTS)) | {"▁", "\n"})
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<unk>", "<s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>")


def test_sentencepiece_gets_no_extra_space() -> None:
    tokenizer = metaspace()
    assert tokenizer.tokenize("the")[0].startswith("▁")
    row = tokenize(tokenizer, Prompt("Say:\n", (0, 3), lead=""), "the law")
    assert "".join(tokenizer.convert_ids_to_tokens(row.ids[row.start :])) == "the▁law"
    row = tokenize(tokenizer, Frame.plain("Say"), "the law")
    assert "".join(tokenizer.convert_ids_to_tokens(row.ids[row.start :])) == "▁the▁law"


def test_tokenizers_without_offsets_give_the_same_spans() -> None:
    fast = with_ends(bos=True, eos=False)

    class Slow(SimpleNamespace):
        def __call__(self, text: str, **kwargs: bool) -> dict[str, list[int]]:
            return {"input_ids": fast(text, **kwargs)["input_ids"]}

    slow = Slow(is_fast=False, bos_token_id=0, eos_token_id=2)
    for prompt in (
        Frame.plain(TEXTS[1]),
        Prompt(TEXTS[1], (6, 21)),
        Prompt("User: Why now?\nAssistant:", (6, 14)),
        Frame.plain(""),
    ):
        assert tokenize(slow, prompt, "it depends") == tokenize(fast, prompt, "it depends")
        slow.decode = fast.decode
        assert token_spans(slow, prompt).tolist() == token_spans(fast, prompt).tolist()
