"""Chat templates: what they add, on which day, and what a stranger's may do."""

import resource
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from prag_lightning.language_model import chat_rendering
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


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for i in range(9999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "done"),
        # No interpreter looks at its clock within one operation.
        ("{{ 9 ** (9 ** 9) }}", "is not done after 0.5 seconds"),
    ],
)
def test_a_chat_template_that_does_not_end_is_killed(
    template: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_rendering, "PATIENCE", 0.5)
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template + LINES
    with pytest.raises(ValueError, match=message):
        PromptEncoder(tokenizer).encode_generation(QUESTION)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 9999999999 }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ 'x'|center(9999999999) }}",
        "{{ '{:9999999999}'.format(1) }}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}"
        "{% endfor %}{{ ns.x }}",
        "{{ 'x' * 2000000 }}",
    ],
)
def test_a_chat_template_that_fills_the_memory_is_refused(template: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template + LINES
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"the chat template of .* (fails|needs too much memory)"):
        PromptEncoder(tokenizer).encode_generation(QUESTION)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18


def test_a_chat_template_that_drops_the_user_s_words_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<|{{ m.role }}|>{% endfor %}"
    with pytest.raises(ValueError, match=r"leaves the user's words out; use a tokenizer"):
        PromptEncoder(tokenizer).encode_generation(QUESTION)


def test_a_chat_template_that_says_the_user_s_words_twice_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = LINES.replace("{{ m.content }}", "{{ m.content }}, {{ m.content }}")
    with pytest.raises(ValueError, match=r"says the user's words 2 times; use a tokenizer"):
        PromptEncoder(tokenizer).encode_generation(QUESTION)


# What a template begins the assistant's turn with, and what becomes of it.
THOUGHTS = {
    "<think>\n": "<think>\n\n</think>\n\n",
    "<think>\n\n": "<think>\n\n</think>\n\n",
    "<seed:think>": "<seed:think>\n\n</seed:think>\n\n",
    "[THINK]": "[THINK]\n\n[/THINK]\n\n",
    "<|START_THINKING|>": "<|START_THINKING|>\n\n<|END_THINKING|>\n\n",
    "<think></think>": "<think></think>",
    "</think>": "</think>",
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}": (
        "<think>\n\n</think>\n\n"
    ),
    "{% if thinking %}<think>{% else %}</think>{% endif %}": "</think>",
    "{% if not enable_thinking is defined %}<think>\n{% endif %}": "",
}


@pytest.mark.parametrize("start", THOUGHTS)
def test_an_answer_stands_behind_the_end_of_the_thoughts(start: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "<|user|>{{ messages[0].content }}<|assistant|>" + start
    ids = PromptEncoder(tokenizer).encode_generation(QUESTION)
    assert str(tokenizer.decode(ids)).endswith(f"<|assistant|>{THOUGHTS[start]}The answer is")


def test_templates_may_use_what_transformers_gives_them() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{%- set ns = namespace(n=0) -%}{%- for m in messages -%}{%- if loop.index > 1 -%}"
        "{%- break -%}{%- endif -%}{%- set ns.n = ns.n + 1 -%}{{ m | tojson }}{%- endfor -%}"
        "{% generation %}{{ eos_token ~ ns.n ~ dict(a=1) ~ (tools is none) }}{% endgeneration %}\n"
    )
    mark = "a\u00e9<"
    text = tokenizer.apply_chat_template([{"role": "user", "content": mark}], tokenize=False)
    ids = PromptEncoder(tokenizer).encode_user_text(mark)
    assert tokenizer.decode(ids) == text
    assert mark in text


@pytest.mark.parametrize(
    "template",
    [
        "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
        "{{ namespace(__class__=1) }}",
        "{{ dict.__subclasses__() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_chat_template_stays_in_its_sandbox(template: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template + LINES
    with pytest.raises(ValueError, match=r"the chat template of .* fails"):
        PromptEncoder(tokenizer).encode_generation(QUESTION)


def test_the_process_of_a_template_writes_no_files(tmp_path: Path) -> None:
    # What a template could do that got out of its sandbox.
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import chat_rendering\n"
        "chat_rendering._limit()\n"
        "with open(sys.argv[2], 'w') as file: file.write('x' * 9)"
    )
    folder = Path(chat_rendering.__file__).parent
    file = tmp_path / "file"
    command = [sys.executable, "-c", program, str(folder), str(file)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode != 0
    assert not file.read_bytes()


def test_another_chat_template_is_another_wording_of_the_recipe() -> None:
    templates = ("tokens", "lines", "none")
    wordings = {PromptEncoder(tokenizer_with(name)).wording for name in templates}
    assert len(wordings) == 3
    assert PromptEncoder(tokenizer_with("lines")).wording in wordings
