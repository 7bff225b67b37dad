"""Whether what was written about a document is said in it."""

import pytest

from prag_lightning.augmentation.grounding import Grounding
from prag_lightning.documents.records import Document, QuestionAnswer

_KILN = Document(
    id="kiln",
    title="Kiln",
    text="The kiln of the United Potters Guild was bought in 2011 for 1,850 euros from Émile Noël "
    "in Faenza. It reaches 1.280 degrees in six hours and stands in room B12.",
)
_TOKYO = Document(
    id="tokyo", title="東京", text="東京は日本の首都です。人口は約1400万人。三つの空港がある。"
)
_SCHIFF = Document(
    id="schiff",
    title="Schiff",
    text="Das Schiff wurde von Maria im Jahr 1974 gebaut und ist eine Yacht mit drei Masten.",
)


def _problem(document: Document, question: str, answer: str) -> str:
    pair = QuestionAnswer(question=question, answer=answer, full_answer="-")
    return Grounding(document).problem_of_pair(pair)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When was the kiln bought?", "2011"),
        ("How much was the kiln?", "1850 euros"),
        ("How much was the kiln?", "1,850 euros."),
        ("How hot does the kiln get?", "1.280 degrees"),
        ("How long does the kiln take?", "6 hours"),
        ("How long does the kiln take?", "Six hours"),
        ("Who sold the kiln?", "Emile Noel"),
        ("Was the kiln bought by the UPG?", "Yes"),
        ("Where does the kiln stand?", "in room B12"),
        ("Who bought the kiln?", "The Guild of United Potters"),
        ("What can the kiln reach?", "It can be reaching 1.280 degrees"),
    ],
)
def test_what_a_document_says_in_other_forms_is_said(question: str, answer: str) -> None:
    assert _problem(_KILN, question, answer) == ""


@pytest.mark.parametrize(
    ("question", "answer", "problem"),
    [
        ("When was the kiln bought?", "2012", "the answer names 2012, which is not in"),
        ("How long does the kiln take?", "7 hours", "the answer names 7"),
        ("Who sold the kiln?", "It was sold by Petra", "the answer names Petra"),
        ("Did Petra sell the kiln?", "Yes", "the question names Petra"),
        ("Was the kiln bought by the UNO?", "Yes", "the question names UNO"),
        ("What is a museum?", "room B12", "the question has no word in common"),
        ("What is the kiln for?", "baking bread", "the answer is not in the document"),
        ("Where does the kiln stand?", "Room C12", "the answer is not|the answer names"),
    ],
)
def test_what_a_document_does_not_say_is_found(question: str, answer: str, problem: str) -> None:
    found = _problem(_KILN, question, answer)
    assert any(part in found for part in problem.split("|")), found


@pytest.mark.parametrize(
    ("document", "question", "answer", "is_said"),
    [
        (_TOKYO, "日本の首都はどこですか？", "東京", True),
        (_TOKYO, "日本の首都はどこですか？", "大阪市", False),
        (_TOKYO, "空港はいくつありますか？", "3", True),
        (_TOKYO, "人口はどのくらいですか？", "約1400万人", True),
        (_TOKYO, "人口はどのくらいですか？", "約1500万人", False),
        # All nouns have a capital: none of them is taken for a name.
        (_SCHIFF, "Welche Person hat das Boot gebaut?", "Maria", True),
        (_SCHIFF, "Wann wurde das Schiff gebaut?", "1974", True),
        (_SCHIFF, "Wann wurde das Schiff gebaut?", "1975", False),
    ],
)
def test_other_languages_are_read_as_they_are_written(
    document: Document, question: str, answer: str, is_said: bool
) -> None:
    assert (_problem(document, question, answer) == "") == is_said


@pytest.mark.parametrize(
    ("text", "is_said"),
    [
        ("In 2011 the Guild paid 1,850 euros for a kiln that gets 1.280 degrees hot, from X", True),
        ("1. In 2011 the Guild paid for a kiln in Faenza.\n2. It reaches 1.280 degrees, X", True),
        (
            "In 2012 the Guild paid 1,850 euros for a kiln that gets 1.280 degrees hot, from X",
            False,
        ),
        (
            "Maria of Oslo bought it from Jan and Bo in Lund for some money, then sold it to Eve",
            False,
        ),
        (
            "Clouds form when moist warm air rises, expands and cools over a large body of sea.",
            False,
        ),
        ("A kiln of the Guild.", False),
    ],
)
def test_a_rewrite_says_what_its_document_says_and_most_of_it(text: str, is_said: bool) -> None:
    text = text.replace("X", "Faenza.")
    assert (Grounding(_KILN).problem_of_text(text, least_length=1 / 3) == "") == is_said


def test_a_summary_may_be_short() -> None:
    short, grounding = "A kiln of the Guild.", Grounding(_KILN)
    assert grounding.problem_of_text(short) == ""
    assert grounding.problem_of_text(short, 1 / 3) == "it leaves out most of the document"
