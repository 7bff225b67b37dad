"""Chat templates: what they add, on which day, and what a stranger's may do."""

from datetime import datetime

import pytest

from prag_lightning.language_model import chat_frame
from prag_lightning.language_model.prompts import PromptEncoder
from tests.conftest import tiny_tokenizer
from tests.language_model.test_prompts import LINES, QUESTION, rendered, tokenizer_with, tokens

# As Llama 3.2 asks for the day, and as Mistral and SmolLM do.
DATED = [
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}{% endif %}{{ date_string }}",
    "{%- set today = strftime_now('%d %b %Y') %}{{ today }}",
]


@pytest.mark.parametrize("date", DATED)
def test_a_chat_template_that_prints_the_day_prints_the_same_on_every_day(date: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = date + LINES
    today = datetime.now().strftime("%d %b %Y")
    assert rendered(tokenizer, "Who?").startswith(today)
    ids = PromptEncoder(tokenizer).encode_user_text("Who?")
    assert str(tokenizer.decode(ids)).startswith("26 Jul 2024")
    plain = tokenizer_with("lines")
    assert ids == tokens(tokenizer, "26 Jul 2024" + rendered(plain, "Who?"))


def test_a_chat_template_is_used_as_it_stands_with_its_line_breaks() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "\n  " + LINES
    ids = PromptEncoder(tokenizer).encode_user_text("Who?")
    assert ids == tokens(tokenizer, rendered(tokenizer, "Who?"))


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ '%s'.__mod__.__globals__ }}",
        "{{ 1 / 0 }}",
        "{% if %}",
        "{{ raise_exception('no') }}",
    ],
)
def test_a_hostile_or_broken_chat_template_is_refused(template: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=r"the chat template of .*; use a tokenizer with another"):
        PromptEncoder(tokenizer).encode_generation(QUESTION)


def test_a_chat_template_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_frame, "_PATIENCE", 0.05)
    tokenizer = tiny_tokenizer()
    # Ends some time, for the thread goes on.
    tokenizer.chat_template = "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}" * 2
    tokenizer.chat_template += "{% endfor %}" * 2 + LINES
    with pytest.raises(ValueError, match=r"is not done after 0\.05 seconds; use a tokenizer"):
        PromptEncoder(tokenizer).encode_generation(QUESTION)


def test_a_chat_template_that_drops_the_user_s_words_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<|{{ m.role }}|>{% endfor %}"
    with pytest.raises(ValueError, match=r"leaves the user's words out; use a tokenizer"):
        PromptEncoder(tokenizer).encode_generation(QUESTION)


def test_another_chat_template_is_another_wording_of_the_recipe() -> None:
    templates = ("tokens", "lines", "none")
    wordings = {PromptEncoder(tokenizer_with(name)).wording for name in templates}
    assert len(wordings) == 3
    assert PromptEncoder(tokenizer_with("lines")).wording in wordings
