"""The answer in a generated text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prag_lightning.answering.agreement import exact_match, strict_tokens
from prag_lightning.answering.extraction import ANSWER_MARK, extract_published, extract_strict
from tests.answering.strict_cases import CHAINS_OF_THOUGHT, STRICT_CASES


@pytest.mark.parametrize(("text", "answer"), STRICT_CASES)
def test_strict_extraction_finds_what_a_careful_reader_does(text: str, answer: str) -> None:
    assert extract_strict(text) == answer


def test_strict_extraction_loses_no_answer_that_published_extraction_finds() -> None:
    found = [
        (text, answer)
        for text, answer in STRICT_CASES
        if exact_match(extract_published(text), [answer], strict_tokens)
    ]
    assert 50 < len(found) < len(STRICT_CASES)
    lost = [text for text, a in found if not exact_match(extract_strict(text), [a], strict_tokens)]
    assert lost == []


@pytest.mark.parametrize(("text", "answer"), CHAINS_OF_THOUGHT)
def test_strict_extraction_finds_the_conclusion_on_any_line(text: str, answer: str) -> None:
    assert extract_strict(text, ANSWER_MARK) == answer


def test_published_extraction_takes_the_first_conclusion() -> None:
    text = "If not, the answer is Rome. But it is so. The answer is J. K. Rowling. She wrote it."
    assert extract_published(text, ANSWER_MARK) == "Rome"
    assert extract_strict(text, ANSWER_MARK) == "J. K. Rowling"


@pytest.mark.parametrize(
    ("mark", "text", "answer"),
    [
        ("die Antwort ist", "Schritt 1: ...\n\nAlso: Die Antwort ist Rom. Es ist so.", "Rom"),
        ("答案是", "第一步：意大利。\n所以答案是罗马。它很大。", "罗马"),
        ("答えは", "まず考える。\n\n答えは：東京。", "東京"),
        ("#### ", "First 2.\n#### 42", "42"),
        ("????", "Hmm.\n???? 42.", "42"),
    ],
)
def test_the_answer_follows_the_mark_of_the_template(mark: str, text: str, answer: str) -> None:
    assert extract_strict(text, mark) == answer
    assert extract_strict(text) != answer


def test_without_a_mark_the_words_are_part_of_the_answer() -> None:
    assert extract_strict("So the answer is Rome.") == "So the answer is Rome"


def test_a_text_that_is_only_a_next_question_is_kept() -> None:
    assert extract_strict("Question: Who?") == "Question: Who?"


ASCII = 'Paris|No|is|D.C.|X.|I.|1984|.|...|!|?|,|;|-|**|[1]|\n| |"'
OTHERS = "東京|。|！|दिल्ली|।|a\u0301|\u3000|\u200b|\x85|\u2028"
WORDS = st.sampled_from([*f"{ASCII}|{OTHERS}".split("|"), "Question:", ANSWER_MARK])


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=20).map(" ".join)))
def test_an_extracted_answer_is_a_piece_of_one_line_of_the_text(text: str) -> None:
    for mark in (None, ANSWER_MARK):
        answer = extract_strict(text, mark)
        assert answer == answer.strip()
        assert len(answer.splitlines()) <= 1
        assert answer in " ".join(text.split())
