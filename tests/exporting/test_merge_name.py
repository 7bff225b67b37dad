"""Names of merges."""

import pytest

from prag_lightning.exporting.merge_name import MergeName, parse_merge_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("12", MergeName(("12",))),
        ("b+a+c", MergeName(("b", "a", "c"))),
        ("a*0.5+b", MergeName(("a", "b"), (0.5, 1.0))),
        (" a * 2 + b ", MergeName(("a", "b"), (2.0, 1.0))),
        ('"C++"*0.5+"2*3"', MergeName(("C++", "2*3"), (0.5, 1.0))),
        (r'"say \"hi\"\u00e9"', MergeName(('say "hi"é',))),
        ('" a "', MergeName((" a ",))),
        ("Cafe\u0301", MergeName(("Café",))),
        ("../../etc/passwd", MergeName(("../../etc/passwd",))),
        ("prag: Who was Ada? 1+1*2", MergeName((), question="Who was Ada? 1+1*2")),
        ('"prag:x"', MergeName(("prag:x",))),
    ],
)
def test_a_name_says_which_documents_and_weights(name: str, expected: MergeName) -> None:
    assert parse_merge_name(name) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "expected a document's id at character 1"),
        ("1+", "expected a document's id at character 3"),
        ("1++1", "expected a document's id at character 3"),
        ("C++", "expected a document's id at character 3"),
        ("+1", "expected a document's id at character 1"),
        ("*2", "expected a document's id at character 1"),
        ('1"', r"expected '\+' at character 2, but there is '\"'"),
        ('"1', "expected a document's id at character 1"),
        ('"1"2', r"expected '\+' at character 4, but there is '2'"),
        ('"\\x"', "is not a string as in JSON"),
        ("1+2+1", "document '1' is named twice"),
        ("1*0", "weight '0' is not a number above 0 and up to 100"),
        ("1*-1", "weight '-1' is not a number"),
        ("1*nan", "weight 'nan' is not a number"),
        ("1*inf", "weight 'inf' is not a number"),
        ("1*1e9", "weight '1e9' is not a number"),
        ("1*one", "weight 'one' is not a number"),
        ("1*2*3", r"expected '\+' at character 4"),
        ('""', "'' is empty or not Unicode text"),
        (r'"\ud800"', r"'\\ud800' is empty or not Unicode text"),
        ("1+\ud800", r"'\\ud800' is empty or not Unicode text"),
        ("prag:\udfff?", "is empty or not Unicode text"),
        ("prag: ", "there is no question behind 'prag:'"),
        ("1" * 9000, "has 9,000 characters, more than 8192"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        parse_merge_name(name)
    assert len(str(error.value)) < 250
