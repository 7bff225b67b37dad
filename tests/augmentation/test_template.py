"""Augmentation from a document's own sentences."""

import random

import pytest

from prag_lightning.augmentation.outcomes import Outcome, Usage
from prag_lightning.augmentation.template import TemplateAugmenter
from prag_lightning.demo.people import draw_couples, tell
from prag_lightning.demo.relations import RELATIONS, Relation
from prag_lightning.documents.records import Augmentation, Document, QuestionAnswer
from prag_lightning.documents.sentences import split_sentences
from tests.augmentation.recorder import Recorder


def _outcome(text: str, num_rewrites: int = 1, num_qas: int = 1, title: str = "") -> Outcome:
    recorder = Recorder()
    documents = [Document(id="d", title=title, text=text)]
    assert TemplateAugmenter(num_rewrites, num_qas).run(documents, recorder) == Usage()
    return recorder.outcomes["d"]


def _augment(text: str, num_rewrites: int = 1, num_qas: int = 1, title: str = "") -> Augmentation:
    outcome = _outcome(text, num_rewrites, num_qas, title)
    assert outcome.failure is None
    assert outcome.augmentation is not None
    return outcome.augmentation


def _pairs(text: str, title: str, num_qas: int = 1) -> list[QuestionAnswer]:
    return _augment(text, num_qas=num_qas, title=title).qas


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
        ("Ada Byron has appeared.", "Ada Byron has what?", "appeared"),
        ("She came from Bath.", "She came from what?", "Bath"),
        (
            "It is in the Museum of the Moving Image.",
            "It is in the what?",
            "Museum of the Moving Image",
        ),
        ("She had 3,000 ships and a car.", "She had how many ships and a car?", "3,000"),
        ("They left by 1815.", "They left by which year?", "1815"),
        ("They were 55.1 % of all.", "They were what percentage of all?", "55.1 %"),
        ("Elle a 3 chats.", 'What is missing in "Elle a ____ chats"?', "3"),
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
    assert _augment("Ada ran. Bo sat. Cy hid.", num_rewrites=4).rewrites == [
        "Bo sat. Cy hid. Ada ran.",
        "Cy hid. Ada ran. Bo sat.",
        "Ada ran. Bo sat. Cy hid.",
        "Bo sat. Cy hid. Ada ran.",
    ]


@pytest.mark.parametrize("heading", ["# The Heron\n\n", "The Heron\n\n", "The Heron\n=====\n"])
def test_a_heading_is_in_no_sentence_and_in_no_question(heading: str) -> None:
    text = "It was built in Turku. It is kept in Nagu."
    made = _augment(heading + text, num_qas=2, title="Boats")
    assert made == _augment(text, num_qas=2, title="Boats")
    assert "Heron" not in made.model_dump_json()


@pytest.mark.parametrize(
    ("sentence", "questions"),
    [
        (
            "东京是日本的首都。",
            [
                ('What is missing in "东京是日本的____"?', "首都"),
                ('What is missing in "东京是____的首都"?', "日本"),
            ],
        ),
        (
            "ヘロンは1974年にトゥルクで造られた。",
            [
                ('What is missing in "ヘロンは1974年に____で造られた"?', "トゥルク"),
                ('What is missing in "ヘロンは____年にトゥルクで造られた"?', "1974"),
            ],
        ),
    ],
)
def test_words_are_left_out_where_they_are_written_without_spaces(
    sentence: str, questions: list[tuple[str, str]]
) -> None:
    pairs = _pairs(sentence, "", num_qas=2)
    assert [(pair.question, pair.answer) for pair in pairs] == questions


def test_a_document_with_fewer_pairs_is_kept_and_that_is_said() -> None:
    outcome = _outcome("Ada was born in London. She left.", num_qas=3)
    assert outcome.augmentation is not None
    assert [pair.answer for pair in outcome.augmentation.qas] == ["London", "left"]
    assert outcome.failure is not None
    assert outcome.failure.reason == "its sentences give 2 of 3 question-answer pairs"


@pytest.mark.parametrize("text", ["", " \n ", "...", "# A heading"])
def test_a_document_that_says_nothing_fails(text: str) -> None:
    outcome = _outcome(text, num_qas=2)
    assert outcome.augmentation is None
    assert outcome.failure is not None
    assert outcome.failure.reason == "its sentences give 0 of 2 question-answer pairs"


def test_the_same_comes_one_by_one_from_python() -> None:
    documents = [Document(id="d", text="Ada was born in London."), Document(id="e", text="")]
    made, failed = TemplateAugmenter(1, 1).augment(documents)
    assert isinstance(made, Augmentation)
    assert made == _augment("Ada was born in London.")
    assert failed.document_id == "e"


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="num_rewrites -1 and num_qas 2: give at least 1 of"):
        TemplateAugmenter(num_rewrites=-1, num_qas=2)
    with pytest.raises(ValueError, match="num_rewrites 0 and num_qas 0: give at least 1 of"):
        TemplateAugmenter(num_rewrites=0, num_qas=0)
