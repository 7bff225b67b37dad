import random
from pathlib import Path

import pytest

from prag_lightning.demo.names import names_in, split_of
from prag_lightning.demo.people import draw_couples, draw_world, tell_differently
from prag_lightning.demo.relations import RELATIONS
from prag_lightning.demo.world import main, write_world
from prag_lightning.documents.records import Augmentation, Document, Question, read_records

FILES = ("documents.jsonl", "corpus.jsonl", "augmentations.jsonl", "questions.jsonl")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=40, seed=3)
    return folder


def test_same_arguments_write_the_same_bytes(world: Path, tmp_path: Path) -> None:
    main(["--output-dir", str(tmp_path), "--num-people", "40", "--seed", "3"])
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (world / name).read_bytes()


def test_the_texts_are_those_of_the_documents(world: Path, tmp_path: Path) -> None:
    main(["--output-dir", str(tmp_path / "a"), "--num-people", "40", "--seed", "3", "--texts"])
    documents = read_records(world / "documents.jsonl", Document)
    expected = {f"{document.title}.txt": f"{document.text}\n" for document in documents}
    assert {file.name: file.read_text() for file in (tmp_path / "a").iterdir()} == expected


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"split": "validation"}, {"num_people": 42}], ids=str
)
def test_other_arguments_write_another_world(
    world: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    write_world(tmp_path, **({"num_people": 40, "seed": 3} | change))  # type: ignore[arg-type]
    for name in FILES:
        assert (tmp_path / name).read_bytes() != (world / name).read_bytes()


def test_a_document_and_its_rewrite_tell_every_fact_in_different_sentences(world: Path) -> None:
    augmentations = read_records(world / "augmentations.jsonl", Augmentation)
    documents = read_records(world / "documents.jsonl", Document)
    for document, augmentation in zip(documents, augmentations, strict=True):
        assert augmentation.document_id == document.id
        told = set(document.text.rstrip(".").split(". "))
        retold = set(augmentation.rewrites[0].rstrip(".").split(". "))
        assert len(told) == len(retold) == len(RELATIONS)
        assert not told & retold
        for qa in augmentation.qas:
            assert qa.answer in document.text
            assert qa.answer in augmentation.rewrites[0]
            assert qa.answer in qa.full_answer


def test_each_half_of_the_pairs_asks_for_every_fact_in_its_own_wording(world: Path) -> None:
    for augmentation in read_records(world / "augmentations.jsonl", Augmentation):
        half = len(augmentation.qas) // 2
        first, second = augmentation.qas[:half], augmentation.qas[half:]
        facts = [{qa.full_answer for qa in part} for part in (first, second)]
        assert len(facts[0]) == len(RELATIONS)
        assert facts[0] == facts[1]
        assert len({qa.question for qa in augmentation.qas}) == 2 * len(RELATIONS)


def test_no_evaluation_question_is_worded_as_in_an_augmentation(world: Path) -> None:
    trained = {
        qa.question
        for augmentation in read_records(world / "augmentations.jsonl", Augmentation)
        for qa in augmentation.qas
    }
    asked = {record.question for record in read_records(world / "questions.jsonl", Question)}
    assert not trained & asked
    for relation in RELATIONS:
        assert not set(relation.questions) & set(relation.test_questions)


def test_a_two_hop_answer_stands_in_the_second_gold_document_alone(world: Path) -> None:
    texts = {
        document.id: document.text for document in read_records(world / "documents.jsonl", Document)
    }
    two_hop = [
        question
        for question in read_records(world / "questions.jsonl", Question)
        if question.type == "two_hop"
    ]
    assert len(two_hop) == 40
    for question in two_hop:
        asked, spouse = question.document_ids
        assert question.answers[0] in texts[spouse]
        name = " ".join(word.capitalize() for word in asked.split("-"))
        assert name in question.question
        assert name in texts[spouse]


def test_five_one_hop_questions_are_asked_about_everybody(world: Path) -> None:
    questions = list(read_records(world / "questions.jsonl", Question))
    texts = {
        document.id: document.text for document in read_records(world / "documents.jsonl", Document)
    }
    one_hop = [question for question in questions if question.type == "one_hop"]
    assert len(one_hop) == 5 * 40
    assert len({question.id for question in questions}) == len(questions)
    for question in one_hop:
        (gold,) = question.document_ids
        assert question.answers[0] in texts[gold]


def test_everybody_is_the_spouse_of_their_spouse() -> None:
    people = {person.name: person for person in draw_world("warmup", 20, seed=0)}
    for person in people.values():
        spouse = people[person.facts["spouse"]]
        assert spouse.facts["spouse"] == person.name != spouse.name


def test_every_name_is_in_one_split_and_has_two_words() -> None:
    names = [
        name
        for split in ("known", "fresh", "warmup", "validation", "test")
        for name in names_in(split)
    ]
    assert len(names) == len(set(names)) == 160 * 240
    assert all(len(name.split()) == 2 for name in names)
    assert all(split_of(name) == "test" for name in names_in("test"))


def test_facts_are_never_told_twice_in_the_same_words_by_a_rewrite() -> None:
    (person, _) = draw_world("test", 2, seed=0)
    everything = " ".join(
        relation.statements[0].format(name=person.name, value=person.facts[relation.key])
        for relation in RELATIONS
    )
    rewrite = tell_differently(person, everything, random.Random(0))
    assert not any(sentence in everything for sentence in rewrite.split(". "))


def test_an_odd_number_of_people_is_refused() -> None:
    with pytest.raises(ValueError, match="3 people: everybody is married, so give an even number"):
        draw_couples(["A B", "C D", "E F"], random.Random(0))


def test_more_people_than_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="99999998 people of split 'test': give 2 to"):
        write_world(tmp_path, num_people=99999998)
