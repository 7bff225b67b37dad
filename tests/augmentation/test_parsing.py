"""What is read out of a language model's answers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.augmentation.parsing import AnswerError, parse_qas, parse_rewrite

_PAIR = '{"question": "Who?", "answer": "Ada", "full_answer": "It was Ada."}'
_EXPECTED = ("Who?", "Ada", "It was Ada.")


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
        f"[{_PAIR}, {_PAIR}, {_PAIR}]",
        f"[{_PAIR}, {_PAIR}, {_PAIR[:-8]}",
        f'[{_PAIR}, "and", {_PAIR}, {{"question": "Why?"}}]',
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
        "more than asked",
        "a third one cut off",
        "other things in the list",
    ],
)
def test_two_pairs_are_read_from_a_list_however_it_is_written(answer: str) -> None:
    pairs = parse_qas(answer, 2)
    assert [(pair.question, pair.answer, pair.full_answer) for pair in pairs] == [_EXPECTED] * 2


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
    assert parse_qas(f"[{_PAIR.replace(chr(34) + 'Ada' + chr(34), value)}]", 1)[0].answer == text


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "an empty answer"),
        (" \n", "an empty answer"),
        ("<think>Hm.</think>", "an empty answer"),
        ("I'm sorry, but I cannot help with that.", "a refusal"),
        ("I\u2019m unable to do so.", "a refusal"),
        ("I cannot make questions about this.", "a refusal"),
        ("The capital of France is Paris.", "no JSON object in the answer"),
        ("[]", "no JSON object in the answer"),
        (f"[{_PAIR}]", "1 of 2 question-answer pairs$"),
        (f"[{_PAIR}, {_PAIR[:-4]}", "1 of 2 question-answer pairs$"),
        (f'[{_PAIR}, {{"question": "Who?", "answer": "Ada"}}]', "1 of 2 .*full_answer of number 2"),
        (f"[{_PAIR}, {_PAIR.replace('Ada', '', 1)}]", "1 of 2 .*answer of number 2: .*at least 1"),
        (f"[{_PAIR.replace(chr(34) + 'Who?' + chr(34), 'null')}]", "0 of 2 .*question of number 1"),
        (f"[{_PAIR.replace(chr(34) + 'Ada' + chr(34), 'true')}]", "0 of 2 .*answer of number 1"),
        ("[{" * 3000, "nested too deeply"),
        ('{"a":' * 3000, "nested too deeply"),
    ],
)
def test_an_answer_without_enough_pairs_is_refused_with_the_reason(
    answer: str, reason: str
) -> None:
    with pytest.raises(AnswerError, match=reason):
        parse_qas(answer, 2)


@given(st.text(st.sampled_from("[]{}\":,\\ \n'qAé1`"), max_size=60) | st.text(max_size=40))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    for parsed in (text, f"[{_PAIR}, {text}", f"{text}[{_PAIR}]", f"[{_PAIR[:-2]}{text}"):
        try:
            pairs = parse_qas(parsed, 1)
        except AnswerError:
            continue
        assert len(pairs) == 1
        assert all(value == value.strip() != "" for value in pairs[0].model_dump().values())


_WORDS = st.text(min_size=1, max_size=20).map(str.strip).filter(bool)


@given(st.lists(st.tuples(_WORDS, _WORDS, _WORDS), min_size=1, max_size=4))
def test_valid_json_is_read_as_it_stands(rows: list[tuple[str, str, str]]) -> None:
    names = ("question", "answer", "full_answer")
    answer = json.dumps([dict(zip(names, row, strict=True)) for row in rows])
    pairs = parse_qas(answer, len(rows))
    assert [(pair.question, pair.answer, pair.full_answer) for pair in pairs] == rows


def test_a_rewrite_is_taken_without_thoughts_and_space_around_it() -> None:
    assert parse_rewrite("<think>So.</think>\n Ada was\nborn. \n") == "Ada was\nborn."


@pytest.mark.parametrize(
    ("answer", "reason"), [("\n", "an empty answer"), ("Sorry, no.", "a refusal")]
)
def test_a_rewrite_that_says_nothing_is_refused(answer: str, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        parse_rewrite(answer)
