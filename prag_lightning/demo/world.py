"""The embedded world as files: ``python -m prag_lightning.demo.world --output-dir DIR``."""

import argparse
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from prag_lightning.demo.names import Split
from prag_lightning.demo.people import (
    ONE_HOP,
    TWO_HOP,
    Person,
    ask,
    ask_through_spouse,
    draw_world,
    full_answer,
    tell,
    tell_differently,
)
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    Question,
    QuestionAnswer,
    write_records,
)

_ONE_HOP_PER_PERSON = 5


def document_id(name: str) -> str:
    """Return the id of the document about a person."""
    return name.lower().replace(" ", "-")


def write_world(
    output_dir: str | os.PathLike[str],
    num_people: int = 100,
    seed: int = 0,
    split: Split = "test",
) -> None:
    """Write invented people as ``documents``, ``augmentations``, ``questions`` and ``corpus``.

    Args:
        output_dir: Folder of the four ``.jsonl`` files; created if missing.
        num_people: Number of people and documents; must be even.
        seed: Seed of the people and their facts.
        split: Split of the names. The base model knows only the ``known`` people; ``warmup`` is
            meant for a warm start, ``validation`` for choosing settings.
    """
    people = draw_world(split, num_people, seed)
    rng = random.Random(seed)
    documents = draw_documents(people, rng)
    folder = Path(output_dir)
    write_records(folder / "documents.jsonl", documents)
    write_records(folder / "corpus.jsonl", documents)
    write_records(
        folder / "augmentations.jsonl",
        [
            augment(person, document, rng)
            for person, document in zip(people, documents, strict=True)
        ],
    )
    write_records(folder / "questions.jsonl", draw_questions(people, rng))


def write_texts(output_dir: Path, num_people: int, seed: int, split: Split) -> None:
    """Write the documents of `write_world` as text files named after the people.

    Args:
        output_dir: Folder of the text files; created if missing.
        num_people: Number of people and files; must be even.
        seed: Seed of the people.
        split: Split of the names, as for `write_world`.
    """
    documents = draw_documents(draw_world(split, num_people, seed), random.Random(seed))
    output_dir.mkdir(parents=True, exist_ok=True)
    for document in documents:
        file = output_dir / f"{document.title}.txt"
        file.write_text(f"{document.text}\n", encoding="utf-8")


def draw_documents(people: Sequence[Person], rng: random.Random) -> list[Document]:
    """Return one document about each person.

    Args:
        people: The people.
        rng: Chooses the wording.
    """
    return [
        Document(id=document_id(person.name), title=person.name, text=tell(person, rng))
        for person in people
    ]


def augment(person: Person, document: Document, rng: random.Random) -> Augmentation:
    """Return one rewrite and two question-answer pairs for every fact, in two wordings.

    Every fact is asked about once in the first half of the pairs, which have the document in their
    prompts, and once in the second half.

    Args:
        person: Person of the document.
        document: The document.
        rng: Chooses the wording.
    """
    wordings = {relation.key: rng.sample(relation.questions, 2) for relation in ONE_HOP}
    qas = [
        QuestionAnswer(
            question=wordings[relation.key][half].format(name=person.name),
            answer=person.facts[relation.key],
            full_answer=full_answer(person, relation),
        )
        for half in (0, 1)
        for relation in rng.sample(ONE_HOP, len(ONE_HOP))
    ]
    rewrite = tell_differently(person, document.text, rng)
    return Augmentation(
        document_id=document.id, rewrites=[rewrite], qas=qas, text_digest=text_digest(document)
    )


def draw_questions(people: Sequence[Person], rng: random.Random) -> list[Question]:
    """Return five one-hop questions and one two-hop question about each person.

    Args:
        people: The people.
        rng: Chooses relations and wording.
    """
    by_name = {person.name: person for person in people}
    questions: list[Question] = []
    for person in people:
        gold = document_id(person.name)
        for relation in rng.sample(ONE_HOP, _ONE_HOP_PER_PERSON):
            question = Question(
                id=f"{gold}-{relation.key}",
                question=ask(person.name, relation.test_questions, rng),
                answers=[person.facts[relation.key]],
                document_ids=[gold],
                type="one_hop",
            )
            questions.append(question)
        spouse = by_name[person.facts["spouse"]]
        relation = rng.choice(TWO_HOP)
        question = Question(
            id=f"{gold}-spouse-{relation.key}",
            question=ask_through_spouse(person.name, relation.test_questions, rng),
            answers=[spouse.facts[relation.key]],
            document_ids=[gold, document_id(spouse.name)],
            type="two_hop",
        )
        questions.append(question)
    return questions


def main(args: Sequence[str] | None = None) -> None:
    """Write the world from the command line."""
    parser = argparse.ArgumentParser(description="Write documents and questions about nobody.")
    parser.add_argument("--output-dir", required=True, type=Path)
    parser.add_argument("--num-people", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=get_args(Split), default="test")
    texts_help = "write the documents only, each as a text file"
    parser.add_argument("--texts", action="store_true", help=texts_help)
    options = parser.parse_args(args)
    write = write_texts if options.texts else write_world
    write(options.output_dir, options.num_people, options.seed, options.split)


if __name__ == "__main__":
    main()
