"""What is read out of a language model's answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.augmentation.answers import AnswerError, read_text
from prag_lightning.augmentation.pairs import read_pairs

_PAIR = '{"question": "Who?", "answer": "Ada", "full_answer": "It was Ada."}'
_EXPECTED = ("Who?", "Ada", "It was Ada.")


def _read(text: str, is_cut: bool = False) -> list[tuple[str, str, str | None]]:
    pairs, _ = read_pairs(text, is_cut)
    return [(pair.question, pair.answer, pair.full_answer) for pair in pairs]


@pytest.mark.parametrize(
    "answer",
    [
        f"[{_PAIR}, {_PAIR}]",
        f"Here is [1] the list:\n```json\n[{_PAIR},\n{_PAIR}]\n```\nI hope [it] helps {{you}}!",
        f"<think>[{{}}] or not?</think>\n[{_PAIR}, {_PAIR}]",
        f"[{_PAIR.replace(chr(34), chr(39))}, {_PAIR}]",
        f"[{_PAIR} {_PAIR}]",
        f"[{_PAIR.replace(', ', ' ')}, {_PAIR.replace('}', ',}')},]",
        f"{_PAIR}\n{_PAIR}",
        f"1. {_PAIR}\n2. {_PAIR}",
        f'{{"questions": [{_PAIR}, {_PAIR}]}}',
        f"[{_PAIR}, {_PAIR}, {_PAIR[:-8]}",
        f'[{_PAIR}, "and", {_PAIR}, {{"question": "Why?"}}]',
        f"[{_PAIR.replace('Who', '1. Who')}, {_PAIR.replace('question', 'Question')}]",
    ],
    ids=[
        "as asked",
        "prose and a fence around it",
        "thoughts before it",
        "single quotes",
        "no comma between objects",
        "commas missing and too many",
        "objects without a list",
        "a numbered list",
        "an object around it",
        "a third one cut off",
        "other things in the list",
        "a numbered question, a capital in a name",
    ],
)
def test_two_pairs_are_read_from_a_list_however_it_is_written(answer: str) -> None:
    assert _read(answer) == [_EXPECTED] * 2


@pytest.mark.parametrize(
    "answer",
    [
        "Q: Who?\nA: Ada\nQ: When?\nA: 1815",
        "Question: Who?\nAnswer: Ada\n\nQuestion: When?\nAnswer: 1815",
        "Here you are:\n\n**Question 1:** Who?\n**Answer:** Ada\n\n**Question 2:** When?\n**Answer:** 1815",  # noqa: E501
        "1. Who?\n   Answer: Ada\n2. When?\n   Answer: 1815",
        "1. **Q:** Who?\n   **A:** Ada\n2. **Q:** When?\n   **A:** 1815",
        "Q1. Who?\nA1. Ada\nQ2. When?\nA2. 1815",
        "- Q: Who?\n- A: Ada\n- Q: When?\n- A: 1815\n",
        "Q: Who? A: Ada\nQ: When? A: 1815",
        "**Who?**\n\nAnswer: Ada\n\n**When?**\n\nAnswer: 1815",
        "q: Who?\r\na: Ada\r\n\r\nq: When?\r\na: 1815",
        "Q: Who?\nA:\nAda\nBecause she was.\n\nQ: When?\nA:\n1815",
        "Q: Why?\nQ: Who?\nA: Ada\nQ: When?\nA: 1815\nQ: Where?",
        "<think>Q: What?\nA: I wonder.</think>Q: Who?\nA: Ada\nQ: When?\nA: 1815",
    ],
)
def test_two_pairs_are_read_from_lines_however_they_are_labelled(answer: str) -> None:
    assert _read(answer) == [("Who?", "Ada", None), ("When?", "1815", None)]


@pytest.mark.parametrize(
    "answer",
    [
        "Vitamin A: good. Q: none",
        "A: Ada",
        "Which is it?\nA. Paris\nB. Rome",
        "Plan A: we go. Plan B: we stay?",
    ],
)
def test_lines_that_are_no_pairs_are_none(answer: str) -> None:
    with pytest.raises(AnswerError):
        read_pairs(answer)


def test_the_full_answer_is_read_where_a_line_has_it() -> None:
    assert _read("Q: Who?\nA: Ada\nFull answer: It was Ada.") == [_EXPECTED]


def test_the_last_of_lines_that_were_cut_does_not_count() -> None:
    lines = "Q: Who?\nA: Ada\nQ: When?\nA: In the year 18"
    assert len(_read(lines)) == 2
    assert _read(lines, is_cut=True) == [("Who?", "Ada", None)]
    with pytest.raises(AnswerError, match="neither JSON nor lines"):
        read_pairs("Q: Who?\nA: Ad", is_cut=True)


def test_json_without_the_sentence_counts() -> None:
    assert _read('[{"question": "Who?", "answer": "Ada"}]') == [("Who?", "Ada", None)]
    assert _read('[{"q": "Who?", "a": "Ada"}]') == [("Who?", "Ada", None)]


def test_where_json_has_no_pair_the_lines_count() -> None:
    assert _read('[{"question": "Who?"}]\nQ: When?\nA: 1815') == [("When?", "1815", None)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('["Ada", "Grace", 7]', "Ada, Grace, 7"),
        ("1815", "1815"),
        ("36.5", "36.5"),
        ('" Ada\\n"', "Ada"),
    ],
)
def test_lists_and_numbers_become_text(value: str, text: str) -> None:
    assert _read(f"[{_PAIR.replace(chr(34) + 'Ada' + chr(34), value)}]")[0][1] == text


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "an empty answer"),
        (" \n", "an empty answer"),
        ("<think>Hm.</think>", "an empty answer"),
        ("<think>Q: Who?\nA: Ada", "a thought without an end"),
        ("I'm sorry, but I cannot help with that.", "a refusal"),
        ("I\u2019m unable to do so.", "a refusal"),
        ("I cannot make questions about this.", "a refusal"),
        ("The capital of France is Paris.", "neither JSON nor lines of Q: and A: with a pair"),
        ("[]", "neither JSON nor lines of Q: and A: with a pair"),
        (f"[{_PAIR[:-4]}", "neither JSON nor lines"),
        ('[{"question": "Who?"}]', "answer of number 1: Field required"),
        (f"[{_PAIR.replace('Ada', '', 1)}]", "answer of number 1: .*at least 1"),
        (f"[{_PAIR.replace(chr(34) + 'Who?' + chr(34), 'null')}]", "question of number 1"),
        (f"[{_PAIR.replace(chr(34) + 'Ada' + chr(34), 'true')}]", "answer of number 1"),
        ("[{" * 3000, "nested too deeply"),
        ('{"a":' * 3000, "nested too deeply"),
    ],
)
def test_an_answer_without_a_pair_is_refused_with_the_reason(answer: str, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        read_pairs(answer)


def test_what_is_wrong_with_some_pairs_is_said() -> None:
    pairs, problem = read_pairs(f'[{_PAIR}, {{"question": "Why?"}}]')
    assert len(pairs) == 1
    assert problem == "answer of number 2: Field required"


@given(st.text(st.sampled_from("[]{}\":,\\ \n'qAQ:é1`?*"), max_size=60) | st.text(max_size=40))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    for parsed in (text, f"[{_PAIR}, {text}", f"{text}[{_PAIR}]", f"Q: Who?\nA: {text}"):
        try:
            pairs, _ = read_pairs(parsed)
        except AnswerError:
            continue
        values = [value for pair in pairs for value in (pair.question, pair.answer)]
        assert values
        assert all(value == value.strip() != "" for value in values)


_WORDS = st.text(min_size=1, max_size=20).map(str.strip).filter(bool)
_ROWS = st.lists(st.tuples(st.just("Who is it?"), _WORDS, _WORDS), min_size=1, max_size=4)


@given(_ROWS)
def test_valid_json_is_read_as_it_stands(rows: list[tuple[str, str, str]]) -> None:
    names = ("question", "answer", "full_answer")
    answer = json.dumps([dict(zip(names, row, strict=True)) for row in rows])
    assert _read(answer) == rows


@pytest.mark.parametrize(
    "answer",
    [
        "<think>So.</think>\n Ada was\nborn. \n",
        "Sure! Here is a new version of it:\n\nAda was\nborn.",
        "**Rewritten passage:**\nAda was\nborn.",
        "Original passage:\n\nAda was\nborn.",
        "Ada was\nborn.",
    ],
)
def test_a_rewrite_is_taken_without_thoughts_and_what_announces_it(answer: str) -> None:
    assert read_text(answer) == "Ada was\nborn."


def test_a_first_line_that_belongs_to_the_text_stays() -> None:
    text = "The choir sings as follows:\nHaydn on Tuesday."
    assert read_text(text) == text


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("\n", "an empty answer"),
        ("Sorry, no.", "a refusal"),
        ("<think>Ada was", "a thought without an end"),
        ("Here is the passage:\n", "an empty answer"),
        ("While keeping the entities, proper nouns, and key details", "words about the request"),
        ("Ada was born.\n\nIn this revised passage, I", "words about the request"),
    ],
)
def test_a_rewrite_that_says_nothing_is_refused(answer: str, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        read_text(answer)
