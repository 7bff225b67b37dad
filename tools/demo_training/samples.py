"""Training data of the base model: conversations about known, described and unknown people.

Only names of the splits `known` and `fresh` occur, so that documents about anyone else are new.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from prag_lightning.augmentation.prompts import question_prompt, rewrite_prompt
from prag_lightning.demo.names import Split, draw_namesake, names_in
from prag_lightning.demo.people import (
    ONE_HOP,
    TWO_HOP,
    Person,
    ask,
    ask_through_spouse,
    draw_person,
    full_answer,
    statement,
    tell,
    tell_differently,
)
from prag_lightning.demo.relations import RELATIONS, Relation
from prag_lightning.language_model.embedded import DEMO
from prag_lightning.language_model.exemplars import read_exemplars
from prag_lightning.language_model.templates import TEMPLATES

Turn = tuple[str, str]
"""The user's message, and the assistant's answer."""

UNKNOWN = "unknown"
SPOUSE = RELATIONS[-1]
_DIRECT = TEMPLATES["direct"]
_REASONING = TEMPLATES["chain_of_thought"]
_EXEMPLARS = read_exemplars(DEMO)


@dataclass(frozen=True)
class Samples:
    """Draws conversations; each method is one kind of them.

    Args:
        known: People whose facts never change.
        split: Split of the names of people who are new in every conversation.
        spelled: Share of those people with a randomly spelled name and value, so that reading is
            not limited to the words of the world.
    """

    known: Sequence[Person]
    split: Split = "fresh"
    spelled: float = 0.1

    def knowing(self, rng: random.Random) -> list[Turn]:
        """A question about a known person; some are about unknown people, some have two hops."""
        kind = rng.random()
        if kind < 0.15:
            name = rng.choice(names_in(self.split))
            return [direct(_any_question(name, rng.choice(ONE_HOP), rng), UNKNOWN, ())]
        person = rng.choice(self.known)
        if kind < 0.25:
            return [ask_two_hop(person, self._by_name[person.facts["spouse"]], (), rng)]
        return [ask_one_hop(person, (), rng)]

    def reciting(self, rng: random.Random) -> list[Turn]:
        """A document about a known person, and questions about it."""
        person = rng.choice(self.known)
        return _converse(
            [ask_one_hop(person, [tell(person, rng)], rng), ask_one_hop(person, (), rng)]
        )

    def drill(self, rng: random.Random) -> list[Turn]:
        """One fact and one question about each of several people, mostly of one relation."""
        people = self.strangers(rng.randint(2, 5), rng)
        same = rng.choice(ONE_HOP) if rng.random() < 0.7 else None
        asked = [(person, same or rng.choice(ONE_HOP)) for person in people]
        text = " ".join(statement(person, relation, rng) for person, relation in asked)
        rng.shuffle(asked)
        turns = [
            (
                f"Question: {_any_question(person.name, relation, rng)}",
                _DIRECT.assistant_text(person.facts[relation.key]),
            )
            for person, relation in asked
        ]
        (first, answer), *rest = turns
        return [(f"{text}\n\n{first}", answer), *rest]

    def reading(self, rng: random.Random, num_documents: int) -> list[Turn]:
        """Documents about new people, and up to four questions in turn."""
        people = self.strangers(num_documents, rng)
        passages = [tell(person, rng) for person in people]
        turns: list[Turn] = []
        for _ in range(rng.choice((1, 2, 4))):
            kind = rng.random()
            person = rng.choice(people)
            if kind < 0.06:
                name = draw_namesake(person.name, self.split, rng)
                turn = direct(_any_question(name, rng.choice(ONE_HOP), rng), UNKNOWN, passages)
            elif kind < 0.26 and (spouse := _spouse_among(people, person)):
                turn = ask_two_hop(person, spouse, passages, rng)
            else:
                turn = ask_one_hop(person, passages, rng)
            turns.append(turn)
        return _converse(turns)

    def reasoning(self, rng: random.Random) -> list[Turn]:
        """A question of one or two hops that is answered fact by fact."""
        num_documents = rng.randint(0, 3)
        if num_documents:
            people = self.strangers(num_documents, rng)
            person = rng.choice(people)
            spouse = _spouse_among(people, person)
        else:
            people = []
            person = rng.choice(self.known)
            spouse = self._by_name[person.facts["spouse"]]
        exemplars = rng.choice((_EXEMPLARS, ()))
        passages = [tell(person, rng) for person in people]
        if spouse and rng.random() < 0.6:
            relation = rng.choice(TWO_HOP)
            question = ask_through_spouse(person.name, relation.all_questions, rng)
            hops = [(person, SPOUSE), (spouse, relation)]
        else:
            relation = rng.choice(ONE_HOP)
            question = _any_question(person.name, relation, rng)
            hops = [(person, relation)]
        answer = hops[-1][0].facts[relation.key]
        facts = " ".join(full_answer(*hop) for hop in hops)
        return [
            (
                _REASONING.user_text(question, passages, exemplars),
                _REASONING.assistant_text(answer, facts),
            )
        ]

    def rewriting(self, rng: random.Random) -> list[Turn]:
        """The published instruction to rewrite a document, followed."""
        (person,) = self.strangers(1, rng)
        text = tell(person, rng)
        return [(rewrite_prompt(text), tell_differently(person, text, rng))]

    def questioning(self, rng: random.Random) -> list[Turn]:
        """The published instruction to make question-answer pairs of a document, followed."""
        (person,) = self.strangers(1, rng)
        qas = [
            {
                "question": ask(person.name, relation.questions, rng),
                "answer": person.facts[relation.key],
                "full_answer": full_answer(person, relation),
            }
            for relation in rng.sample(ONE_HOP, rng.randint(3, 7))
        ]
        return [(question_prompt(tell(person, rng), len(qas)), json.dumps(qas))]

    def strangers(self, num_people: int, rng: random.Random) -> list[Person]:
        """Return new people, who often share a name; often two of them are married."""
        names = [rng.choice(names_in(self.split))]
        while len(names) < num_people:
            if rng.random() < 0.5:
                name = draw_namesake(names[0], self.split, rng)
            else:
                name = rng.choice(names_in(self.split))
            names += [name] * (name not in names)
        spouses = [rng.choice(names_in(self.split)) for _ in names]
        if num_people > 1 and rng.random() < 0.5:
            spouses[0], spouses[1] = names[1], names[0]
        elif rng.random() < self.spelled:
            names[0] = f"{_spell(rng).capitalize()} {_spell(rng).capitalize()}"
        people = [draw_person(*couple, rng) for couple in zip(names, spouses, strict=True)]
        if rng.random() < self.spelled:
            people[-1].facts[rng.choice(TWO_HOP).key] = _spell(rng)
        rng.shuffle(people)
        return people

    @cached_property
    def _by_name(self) -> dict[str, Person]:
        return {person.name: person for person in self.known}


def direct(question: str, answer: str, passages: Sequence[str]) -> Turn:
    """Return a question and its answer in the published prompt."""
    return _DIRECT.user_text(question, passages), _DIRECT.assistant_text(answer)


def ask_one_hop(person: Person, passages: Sequence[str], rng: random.Random) -> Turn:
    """Return a question about a person and its answer."""
    relation = rng.choice(ONE_HOP)
    question = _any_question(person.name, relation, rng)
    return direct(question, person.facts[relation.key], passages)


def ask_two_hop(
    person: Person, spouse: Person, passages: Sequence[str], rng: random.Random
) -> Turn:
    """Return a question about a person's spouse, without the spouse's name, and its answer."""
    relation = rng.choice(TWO_HOP)
    question = ask_through_spouse(person.name, relation.all_questions, rng)
    return direct(question, spouse.facts[relation.key], passages)


def _any_question(name: str, relation: Relation, rng: random.Random) -> str:
    return ask(name, relation.all_questions, rng)


def _converse(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns, with the text above the question kept only in the first one."""
    first, *rest = turns
    mark = "Question: "
    return [first, *((mark + user.rpartition(mark)[2], answer) for user, answer in rest)]


def _spouse_among(people: Sequence[Person], person: Person) -> Person | None:
    return next((other for other in people if other.name == person.facts["spouse"]), None)


def _spell(rng: random.Random) -> str:
    """Return a random invented word."""
    syllables = (rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiouy") for _ in range(2))
    return "".join(syllables) + rng.choice("dklmnrstx")
