"""Chats that begin with examples, and templates with settings."""

import pytest

from prag_lightning.augmentation.chat_template import with_chat_start
from prag_lightning.augmentation.requests import Example
from prag_lightning.language_model.prompts import PromptEncoder
from tests.conftest import tiny_tokenizer

_EXAMPLE = Example('Say "it\'s" {{ 1 }}, é\n{% x', "A: 1")
_THINKING = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
    "{% if effort %}effort {{ effort }}{% endif %}"
    "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
)


def test_examples_are_turns_of_the_chat_word_by_word() -> None:
    tokenizer = tiny_tokenizer()
    made = with_chat_start(tokenizer, [_EXAMPLE])
    messages = [
        {"role": "user", "content": _EXAMPLE.user},
        {"role": "assistant", "content": _EXAMPLE.assistant},
        {"role": "user", "content": "Who?"},
    ]
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(PromptEncoder(made).encode_user_text("Who?")) == expected
    # The tokenizer itself is what it was.
    assert tokenizer.decode(PromptEncoder(tokenizer).encode_user_text("Who?")) == (
        "<|user|>Who?<|assistant|>"
    )


def test_a_template_gets_its_settings_and_the_model_never_thinks() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = _THINKING

    def tail(**settings: bool | str) -> str:
        made = with_chat_start(tokenizer, settings=settings)
        return str(tokenizer.decode(PromptEncoder(made).frame[1]))

    assert tail() == "<|assistant|>"
    assert tail(effort="low") == "<|assistant|>effort low"
    # A thought that is begun is ended at once.
    assert tail(enable_thinking=True) == "<|assistant|><think>\n\n</think>\n\n"


def test_without_a_template_there_is_nothing_to_set() -> None:
    tokenizer = tiny_tokenizer(chat=False)
    assert with_chat_start(tokenizer, [_EXAMPLE], {"a": 1}) is tokenizer


def test_a_setting_that_is_no_variable_is_refused() -> None:
    with pytest.raises(ValueError, match="chat_template_kwargs: 'a b' is no name of a variable"):
        with_chat_start(tiny_tokenizer(), settings={"a b": 1})
