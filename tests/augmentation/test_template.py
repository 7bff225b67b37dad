"""Augmentation from a document's own sentences."""

import random

import pytest

from prag_lightning.augmentation.draft import Failure, Usage
from prag_lightning.augmentation.template import TemplateGenerator, split_sentences
from prag_lightning.demo.people import draw_couples, tell
from prag_lightning.demo.relations import RELATIONS, Relation
from prag_lightning.documents.records import Augmentation, Document, QuestionAnswer


def _augment(
    text: str, num_rewrites: int = 1, num_qas: int = 1, title: str = ""
) -> Augmentation | Failure:
    results: list[Augmentation | Failure] = []
    generator = TemplateGenerator(num_rewrites, num_qas)
    documents = [Document(id="d", title=title, text=text)]
    assert generator.augment(documents, lambda o: results.append(o.result)) == Usage()
    return results[0]


def _pairs(text: str, title: str, num_qas: int = 1) -> list[QuestionAnswer]:
    result = _augment(text, num_qas=num_qas, title=title)
    assert isinstance(result, Augmentation)
    return result.qas


@pytest.mark.parametrize(
    ("sentence", "question", "answer"),
    [
        ("Ada Byron was born in London.", "Where was Ada Byron born?", "London"),
        ("Ada Byron was born in the year 1815.", "In which year was Ada Byron born?", "1815"),
        (
            "Ada Byron is employed by King Mills.",
            "Who or what is Ada Byron employed by?",
            "King Mills",
        ),
        ("Ada Byron works as a programmer.", "What does Ada Byron work as?", "programmer"),
        ("Ada Byron comes from London.", "Where does Ada Byron come from?", "London"),
        ("Ada Byron dresses in red.", "What does Ada Byron dress in?", "red"),
        ("Ada Byron plays the harp.", "What does Ada Byron play?", "harp"),
        ("Ada Byron had a post at Oxford.", "Where did Ada Byron have a post?", "Oxford"),
        ("Ada Byron has mastered the harp.", "What has Ada Byron mastered?", "harp"),
        ("Ada Byron is a writer by profession.", "What is Ada Byron by profession?", "writer"),
        ("Ada Byron has appeared.", 'What is missing in "Ada Byron has ____"?', "appeared"),
        ("Ada Byron's is red.", 'What is missing in "Ada Byron\'s is ____"?', "red"),
        ("It is a house.", 'What is missing in "It is a ____"?', "house"),
        ("Poets like it.", 'What is missing in "Poets like ____"?', "it"),
        ("Ada plays Chopin.", 'What is missing in "Ada plays ____"?', "Chopin"),
        (
            "In 1815 she ran 3,000 miles!",
            'What is missing in "In 1815 she ran ____ miles"?',
            "3,000",
        ),
    ],
)
def test_a_sentence_gives_a_question_that_it_answers(
    sentence: str, question: str, answer: str
) -> None:
    assert _pairs(sentence, "Ada Byron") == [
        QuestionAnswer(question=question, answer=answer, full_answer=sentence)
    ]


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.key)
def test_every_statement_of_the_embedded_world_gives_a_pair_with_the_right_answer(
    relation: Relation,
) -> None:
    for value in relation.values or ("Lunora Falerby",):
        for statement in relation.statements:
            sentence = statement.format(name="Karek Bremlock", value=value)
            (pair,) = _pairs(sentence, "Karek Bremlock")
            assert pair.answer == value, sentence
            assert "Karek Bremlock" in pair.question
            assert value not in pair.question


def test_the_first_pairs_ask_about_one_sentence_each() -> None:
    rng = random.Random(0)
    person, _ = draw_couples(["Karek Bremlock", "Lunora Falerby"], rng)
    text = tell(person, rng)
    pairs = _pairs(text, person.name, num_qas=len(RELATIONS) + 2)
    sentences = split_sentences(text)
    assert [pair.full_answer for pair in pairs[: len(sentences)]] == sentences
    assert {pair.answer for pair in pairs[: len(sentences)]} == set(person.facts.values())
    assert len({pair.question for pair in pairs}) == len(pairs)


def test_rewrites_are_the_sentences_in_other_orders() -> None:
    result = _augment("Ada ran. Bo sat. Cy hid.", num_rewrites=4)
    assert isinstance(result, Augmentation)
    assert result.rewrites == [
        "Bo sat. Cy hid. Ada ran.",
        "Cy hid. Ada ran. Bo sat.",
        "Ada ran. Bo sat. Cy hid.",
        "Bo sat. Cy hid. Ada ran.",
    ]


def test_initials_abbreviations_and_numbers_end_no_sentence() -> None:
    text = "J. K. Rowling met Dr. No.  It cost 3.5 pounds!\nWhy? \u201cSo.\u201d Mr. X left"
    assert split_sentences(text) == [
        "J. K. Rowling met Dr. No. It cost 3.5 pounds!",
        "Why?",
        "\u201cSo.\u201d Mr. X left",
    ]


@pytest.mark.parametrize("text", ["", " \n ", "..."])
def test_a_document_that_gives_too_few_pairs_fails(text: str) -> None:
    result = _augment(text, num_qas=2)
    assert isinstance(result, Failure)
    assert result.reason == "its sentences give 0 of 2 question-answer pairs"


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="num_rewrites -1 and num_qas 0: give at least 0 and 1"):
        TemplateGenerator(num_rewrites=-1, num_qas=0)
