from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.language_model.templates import (
    TEMPLATES,
    Exemplar,
    PromptTemplate,
    clean_answer,
    clean_question,
    find_template,
)

PASSAGES = ["Ada was born in Paris.", "Bo was not."]
QUESTION = "Where was Ada born?"
INSTRUCTION = (
    "You should answer the question by referring to the knowledge provided below and integrating "
    "your own knowledge.\n"
)
REASONING = TEMPLATES["chain_of_thought"]
EXEMPLAR = Exemplar(
    "Where was Cy born?", "Cy is the son of Di. Di lived in Lund. So the answer is Lund."
)


def test_the_user_s_turn_is_the_published_one() -> None:
    assert PromptTemplate().user_text(" Where was Ada born ? ", PASSAGES) == (
        INSTRUCTION + "Passage 1: Ada was born in Paris.\nPassage 2: Bo was not.\n"
        "\n\nQuestion: Where was Ada born?"
    )


def test_the_user_s_turn_without_documents_keeps_the_published_empty_lines() -> None:
    assert PromptTemplate().user_text(QUESTION) == INSTRUCTION + "\n\nQuestion: Where was Ada born?"


def test_the_assistant_s_turn_is_the_published_one() -> None:
    assert PromptTemplate().assistant_text(" Paris ") == "The answer is Paris."


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("who", "who?"),
        ("who?", "who?"),
        (" who ? ", "who?"),
        ("who??", "who?"),
        ("who ? ?", "who?"),
        ("who? me", "who? me?"),
        ("\u00bfquién\u00a0?", "\u00bfquién?"),
        ("日本の首都は\uff1f", "日本の首都は\uff1f"),
        ("日本の首都は\uff1f \uff1f", "日本の首都は\uff1f"),
        ("日本の首都は", "日本の首都は?"),
        ("ما هي العاصمة؟", "ما هي العاصمة؟"),
        ("Ποιος;", "Ποιος;"),
        ("Ποιος\u037e", "Ποιος\u037e"),
        ("a; b;", "a; b;?"),
        ("?", "?"),
        ("", "?"),
    ],
)
def test_a_question_ends_in_one_question_mark(raw: str, clean: str) -> None:
    assert clean_question(raw) == clean


@given(st.text(st.sampled_from("ab? \n\t\u00a0.")))
def test_cleaning_a_question_takes_away_nothing_but_its_end_and_is_done_once(text: str) -> None:
    clean = clean_question(text)
    words = clean[:-1]
    assert clean[-1] == "?"
    assert words == words.rstrip()
    assert not words.endswith("?")
    assert text.strip().startswith(words)
    assert clean_question(clean) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Paris", "Paris."),
        (" Paris. ", "Paris."),
        ("D.C.", "D.C."),
        ("why?", "why?"),
        ("Jeopardy!", "Jeopardy!"),
        ("東京", "東京."),
        ("東京。", "東京。"),
        ("「はい。」", "「はい。」"),
        ("दिल्ली।", "दिल्ली।"),
        ("لندن\u06d4", "لندن\u06d4"),
        ("5,", "5,."),
    ],
)
def test_an_answer_ends_as_a_sentence_does(raw: str, clean: str) -> None:
    assert clean_answer(raw) == clean


def test_braces_in_a_document_or_a_question_are_plain_characters() -> None:
    text = PromptTemplate().user_text("What is {question}?", ["f{0} {passages} {}"])
    assert "Passage 1: f{0} {passages} {}\n" in text
    assert text.endswith("Question: What is {question}?")


def test_where_answers_stand_is_said_by_the_template_and_no_part_of_prompts() -> None:
    german = find_template({"answer_mark": "die Antwort ist"})
    assert german.answer_mark == "die Antwort ist"
    assert PromptTemplate().answer_mark == REASONING.answer_mark == "the answer is"
    assert german.wording == PromptTemplate().wording
    other = find_template({"passage": "{text}"})
    assert other.wording != PromptTemplate().wording


def test_a_chain_of_thought_stands_between_exemplars_documents_and_the_answer() -> None:
    assert REASONING.user_text(QUESTION, PASSAGES, [EXEMPLAR, EXEMPLAR]) == (
        "Question: Where was Cy born?\n"
        "Answer: Cy is the son of Di. Di lived in Lund. So the answer is Lund.\n\n"
        * 2
        + "Passage 1: Ada was born in Paris.\nPassage 2: Bo was not.\n\n"
        "Think step by step before you answer.\n\nQuestion: Where was Ada born?"
    )
    assert REASONING.assistant_text("Paris", "Ada was born in Paris") == (
        "Answer: Ada was born in Paris. So the answer is Paris."
    )
    assert REASONING.reasons
    assert not TEMPLATES["direct"].reasons


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user": "{passages}"}, r"'user' is '{passages}'; its fields are .* mind {question}"),
        ({"user": "{passages}{question}{name}"}, r"mind {name} \(and write other braces twice\)"),
        ({"user": "{passages}{question"}, "'user' is .*expected '}'"),
        ({"passage": "{number}"}, "'passage' is .* mind {text}"),
        ({"exemplar": "{question}"}, "'exemplar' is .* mind {answer}"),
        ({"assistant": "The answer is"}, "'assistant' is .* mind none of them"),
        ({"assistant_start": "The answer is "}, "must end without a space"),
        ({"user": "{passages}{question:9999999999}"}, "mind {question}, {question:9999999999}"),
        ({"passage": "{text!r}"}, "mind {text}, {text!r}"),
        ({"answer_mark": " "}, "'answer_mark' is empty"),
        ({"assistant": "{{{answer}", "assistant_start": "{{"}, "hold no braces"),
        ({"assistant_start": "So"}, r"'assistant' \('The answer is {answer}'\) begin with it"),
    ],
)
def test_a_template_with_other_fields_is_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PromptTemplate(**fields)


def test_a_template_comes_by_its_name_from_a_file_or_from_its_fields(tmp_path: Path) -> None:
    fields = {"user": "{passages}{question}", "passage": "{text}\n"}
    file = tmp_path / "mine.yaml"
    file.write_text('user: "{passages}{question}"\npassage: "{text}\\n"\n')
    assert find_template("chain_of_thought") is REASONING
    template = PromptTemplate(**fields)
    assert find_template(str(file)) == find_template(fields) == template
    assert find_template(template) is template


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("usr: x", r"mine.yaml: the fields of a template are user, .*, not \['usr'\]"),
        ("- x", "mine.yaml: the fields of a template are .*, not <class 'list'>"),
        ("user: 3", "mine.yaml: 'user' is no text; put it in quotes"),
        ("user: [", "mine.yaml: is no YAML"),
        ("[" * 9999, "mine.yaml: is no YAML"),
        ("1: x\nusr: y", r"mine.yaml: the fields of a template are .*, not \['1', 'usr'\]"),
        ("? [a, b]\n: x", "mine.yaml: is no YAML"),
    ],
)
def test_a_file_that_is_no_template_is_refused_with_its_name(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        find_template(str(file))


def test_an_unknown_template_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"no template 'chain', .* choose direct, chain_of_thought"
    ):
        find_template("chain")
