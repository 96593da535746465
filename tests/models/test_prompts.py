"""Prompts glue as text does; one frame serves both models; tokenizers that differ are told apart."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tokenizers import processors

from models.tiny import CHAT_TEMPLATE, TEXTS, tiny_tokenizer
from unmask.models import Frame, ModelError, Prompt, check_same_tokens, choose_frame
from unmask.models.prompts import ChatTokenizer

CHATML = tiny_tokenizer()
PLAIN = tiny_tokenizer(chat=False)


def with_template(template: str) -> ChatTokenizer:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer  # pyright: ignore[reportReturnType]


def test_prompts_need_no_torch() -> None:
    code = "import sys, unmask.models; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_then_keeps_the_content_and_glues() -> None:
    prompt = Frame.plain("The sky")
    longer = prompt.then("is blue")
    assert longer == Prompt("The sky is blue", (0, 7))
    assert prompt.then(" is blue") == longer
    assert prompt.then("is ").lead == ""
    assert prompt.then("is ").then("blue").text == "The sky is blue"
    assert prompt.then("") == prompt
    rendered = Prompt("<|im_start|>assistant\n", (0, 0), special=False, lead="")
    assert rendered.then("Sure").then("I can").text == "<|im_start|>assistant\nSure I can"
    assert not rendered.then("Sure").special


def test_a_span_outside_the_text_is_refused() -> None:
    with pytest.raises(ValueError, match="inside the text"):
        Prompt("abc", (1, 4))


def test_auto_takes_the_aligned_template_with_its_default_system_prompt() -> None:
    frame = choose_frame(PLAIN, CHATML)
    assert frame.kind == "template"
    assert frame.before == "<|im_start|>system\nBe helpful.<|im_end|>\n<|im_start|>user\n"
    assert frame.after == "<|im_end|>\n<|im_start|>assistant\n"
    assert (frame.special, frame.lead, frame.stop) == (False, "", ("<|im_end|>",))
    assert "Be helpful." in frame.note
    assert "kept" in frame.note
    prompt = frame.ask("Why?", "Well")
    talk = [{"role": "user", "content": "Why?"}]
    assert (
        prompt.text == CHATML.apply_chat_template(talk, tokenize=False, add_generation_prompt=True) + "Well"
    )
    assert prompt.text[slice(*prompt.content)] == "Why?"


def test_a_system_prompt_replaces_the_default_and_an_empty_one_removes_it() -> None:
    assert "Be brief." in choose_frame(PLAIN, CHATML, system="Be brief.").before
    assert "Be helpful." not in choose_frame(PLAIN, CHATML, system="Be brief.").before
    without = choose_frame(PLAIN, CHATML, system="")
    assert without.before == "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n"
    assert "left out" in without.note


def test_an_empty_system_prompt_adds_no_block_where_there_is_no_default() -> None:
    bare = with_template(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert choose_frame(PLAIN, bare, system="").before == "<|im_start|>user\n"
    assert "system prompt" not in choose_frame(PLAIN, bare).note


def test_unknown_special_tokens_fall_back_to_plain_or_are_refused() -> None:
    other = tiny_tokenizer(extra=("<|turn|>",))
    other.chat_template = CHAT_TEMPLATE.replace("<|im_end|>", "<|turn|>")
    frame = choose_frame(PLAIN, other)
    assert (frame.kind, frame.before, frame.after) == ("plain", "User: ", "\nAssistant:")
    assert "<|turn|>" in frame.note
    with pytest.raises(ModelError, match=r"<\|turn\|> are not in base's vocabulary.*--template auto"):
        choose_frame(PLAIN, other, "template")


def test_a_special_token_with_another_id_is_unknown() -> None:
    shifted = tiny_tokenizer(extra=("<|turn|>",))
    shifted.add_special_tokens({"additional_special_tokens": ["<|last|>"]})
    assert choose_frame(shifted, with_template(CHAT_TEMPLATE)).kind == "template"
    moved = tiny_tokenizer()
    moved.add_tokens(["filler"])
    for tokenizer in (moved, other := tiny_tokenizer()):
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|late|>"]})
    other.chat_template = CHAT_TEMPLATE.replace("<|im_end|>", "<|late|>")
    assert choose_frame(moved, other).kind == "plain"


def test_plain_policy_and_models_without_a_template() -> None:
    frame = choose_frame(CHATML, CHATML, "plain", system="Be brief.")
    assert frame.ask("Why?").text == "Be brief.\n\nUser: Why?\nAssistant:"
    assert frame.ask("Why?", "Because").text.endswith("\nAssistant: Because")
    assert frame.stop == ("\nUser:",)
    assert frame.special
    assert "no chat template" in choose_frame(CHATML, PLAIN).note
    assert "neither tokenizer has a chat template" in choose_frame(PLAIN, PLAIN).note
    with pytest.raises(ModelError, match="The aligned model's tokenizer has no chat template"):
        choose_frame(CHATML, PLAIN, "template")
    with pytest.raises(ModelError, match="must be one of auto, template, plain"):
        choose_frame(CHATML, CHATML, "chatml")


def test_thinking_is_off_and_dates_are_fixed() -> None:
    tokenizer = with_template(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "Today is {{ strftime_now('%d %b %Y') }}.\n"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>\n{% endif %}{% endif %}"
    )
    frame = choose_frame(PLAIN, tokenizer)
    assert frame.after == "<|im_end|>\nToday is 01 Jan 2025.\n<|im_start|>assistant\n<think></think>\n"


def test_templates_that_refuse_or_lose_the_words() -> None:
    no_system = with_template(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    )
    assert choose_frame(PLAIN, no_system).before == "["
    with pytest.raises(ModelError, match="refuses a talk of system, user: no system role"):
        choose_frame(PLAIN, no_system, "template", system="Be brief.")
    assert choose_frame(PLAIN, no_system, system="Be brief.").before == "Be brief.\n\nUser: "
    with pytest.raises(ModelError, match="exactly once"):
        choose_frame(PLAIN, with_template("hello"), "template")


def test_a_template_with_a_space_before_the_answer_leads_with_it() -> None:
    spaced = with_template(
        "{% for m in messages %}{% if m['role'] == 'user' %}[Q] {{ m['content'] }} [/Q]"
        "{% else %} {{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
    )
    frame = choose_frame(PLAIN, spaced)
    assert (frame.lead, frame.stop) == (" ", ("<|im_end|>",))
    assert frame.ask("Why?", "Because").text == "[Q] Why? [/Q] Because"


def test_same_tokens() -> None:
    assert check_same_tokens(CHATML, PLAIN).same
    more = tiny_tokenizer()
    more.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    found = check_same_tokens(CHATML, more)
    assert found.same
    assert "<|tool|>" in found.reason
    other = check_same_tokens(CHATML, tiny_tokenizer(extra=("<|turn|>",)))
    assert not other.same
    assert "ordinary tokens" in other.reason
    from tokenizers import pre_tokenizers

    digits = tiny_tokenizer()
    digits.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    found = check_same_tokens(CHATML, digits)
    assert not found.same
    assert "split" in found.reason


def test_start_tokens_that_one_side_adds_are_another_tokenizer() -> None:
    def adding(single: str):
        tokenizer = tiny_tokenizer()
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("<|bos|>", 0), ("<|im_end|>", 2)]
        )
        return tokenizer

    found = check_same_tokens(CHATML, adding("<|bos|> $A"))
    assert not found.same
    assert "base's adds none to a plain text and aligned's adds '<|bos|>'" in found.reason
    assert "base's adds '<|bos|>'" in check_same_tokens(adding("<|bos|> $A"), CHATML).reason
    assert check_same_tokens(adding("<|bos|> $A"), adding("<|bos|> $A")).same
    ended = check_same_tokens(CHATML, adding("$A <|im_end|>"))
    assert ended.same, "an end token is taken off every prompt, so both models are shown the same"


def test_content_tokens_are_the_words_alone() -> None:
    from unmask.models.tokenizing import tokenize

    frame = choose_frame(PLAIN, CHATML)
    row = tokenize(CHATML, frame.ask(TEXTS[1]), "It depends")
    assert CHATML.decode(row.ids[slice(*row.content)]) == TEXTS[1]
    assert CHATML.decode(row.ids[row.start :]) == "It depends"
    assert row.ids[: row.start] == tuple(CHATML.encode(frame.ask(TEXTS[1]).text, add_special_tokens=False))
    plain = tokenize(CHATML, Frame.plain(TEXTS[1]), "It depends")
    assert plain.content[0] == 1
    assert CHATML.decode(plain.ids[plain.start :]) == " It depends"
    assert tokenize(CHATML, frame.ask(TEXTS[1])).start == row.start
