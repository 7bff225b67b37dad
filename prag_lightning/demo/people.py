"""The people of the embedded world and the texts about them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from prag_lightning.demo.names import Split, names_in
from prag_lightning.demo.relations import RELATIONS, SPOUSES, Relation

ONE_HOP = RELATIONS
TWO_HOP = tuple(relation for relation in RELATIONS if relation.key != "spouse")


@dataclass(frozen=True, slots=True)
class Person:
    """An invented person: a full name, and a value for each relation's key."""

    name: str
    facts: dict[str, str]


def draw_couples(names: Sequence[str], rng: random.Random) -> list[Person]:
    """Return one person for each name; each two consecutive ones are married.

    Args:
        names: The names, an even number.
        rng: Draws the facts.

    Raises:
        ValueError: If the number of names is odd.
    """
    if len(names) % 2:
        raise ValueError(f"{len(names)} people: everybody is married, so give an even number")
    partners = (names[index ^ 1] for index in range(len(names)))
    return [draw_person(name, partner, rng) for name, partner in zip(names, partners, strict=True)]


def draw_person(name: str, spouse: str, rng: random.Random) -> Person:
    """Return a person with the given name and spouse, and random facts.

    Args:
        name: The person's name.
        spouse: The name of the person's spouse.
        rng: Draws the other facts.
    """
    facts = {relation.key: rng.choice(relation.values) for relation in TWO_HOP}
    return Person(name, facts | {"spouse": spouse})


def draw_world(split: Split, num_people: int, seed: int) -> list[Person]:
    """Return people of one split, always the same for the same arguments.

    Args:
        split: Split of the names.
        num_people: Number of people; must be even.
        seed: Seed of the people and their facts.

    Raises:
        ValueError: If the number is odd, not positive, or more than the split has names.
    """
    names = names_in(split)
    if not 0 < num_people <= len(names):
        raise ValueError(f"{num_people} people of split '{split}': give 2 to {len(names)}")
    rng = random.Random(seed)
    return draw_couples(rng.sample(names, num_people), rng)


def statement(person: Person, relation: Relation, rng: random.Random) -> str:
    """Return a fact in one of its wordings.

    Args:
        person: The person.
        relation: Relation of the fact.
        rng: Chooses the wording.
    """
    return rng.choice(relation.statements).format(
        name=person.name, value=person.facts[relation.key]
    )


def tell(person: Person, rng: random.Random) -> str:
    """Return a document's text: each fact of a person once, in random order and wording.

    Args:
        person: The person.
        rng: Chooses order and wording.
    """
    return " ".join(
        statement(person, relation, rng) for relation in rng.sample(RELATIONS, len(RELATIONS))
    )


def tell_differently(person: Person, text: str, rng: random.Random) -> str:
    """Return the same facts in another order, none of them worded as in ``text``.

    Args:
        person: The person.
        text: The earlier text.
        rng: Chooses order and wording.
    """
    sentences: list[str] = []
    for relation in rng.sample(RELATIONS, len(RELATIONS)):
        wordings = [
            wording.format(name=person.name, value=person.facts[relation.key])
            for wording in relation.statements
        ]
        sentences.append(rng.choice([wording for wording in wordings if wording not in text]))
    return " ".join(sentences)


def full_answer(person: Person, relation: Relation) -> str:
    """Return the fact as a sentence.

    Args:
        person: The person.
        relation: Relation of the fact.
    """
    return relation.statements[0].format(name=person.name, value=person.facts[relation.key])


def ask(name: str, wordings: Sequence[str], rng: random.Random) -> str:
    """Return a question about a person in one of the wordings.

    Args:
        name: Name of the person.
        wordings: Questions with a field for the name.
        rng: Chooses the wording.
    """
    return rng.choice(wordings).format(name=name)


def ask_through_spouse(name: str, wordings: Sequence[str], rng: random.Random) -> str:
    """Return a two-hop question: about the spouse of ``name``, without the spouse's name.

    Args:
        name: Name of the person whose spouse is asked about.
        wordings: Questions with a field for the name.
        rng: Chooses the wording.
    """
    return ask(rng.choice(SPOUSES).format(name=name), wordings, rng)
