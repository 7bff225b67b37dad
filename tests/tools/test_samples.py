import json
import random
import re

import pytest

from prag_lightning.demo.names import FIRST_NAMES, LAST_NAMES, Split, names_in, split_of
from prag_lightning.demo.people import draw_world
from tools.demo_training.mix import MIX, Kind
from tools.demo_training.samples import UNKNOWN, Samples

_NAME = re.compile(rf"\b((?:{'|'.join(FIRST_NAMES)}) (?:{'|'.join(LAST_NAMES)}))\b")


def samples() -> Samples:
    return Samples(draw_world("known", 100, seed=0))


@pytest.mark.parametrize("kind", MIX, ids=range(len(MIX)))
def test_the_base_is_trained_on_no_name_of_other_splits_than_known_and_fresh(kind: Kind) -> None:
    rng = random.Random(0)
    world = samples()
    drawn = [kind.draw(world, rng) for _ in range(200)]
    names = _NAME.findall(json.dumps(drawn))
    assert len(names) > 200
    assert {split_of(name) for name in names} <= {"known", "fresh"}


@pytest.mark.parametrize("split", ["warmup", "validation", "test"])
def test_no_person_of_another_split_shares_a_name_with_the_base_s_people(split: Split) -> None:
    met = {*names_in("known"), *names_in("fresh")}
    people = draw_world(split, len(names_in(split)) // 2 * 2, seed=0)
    assert len(people) > 1000
    assert not met & {person.name for person in people}


def test_facts_of_known_people_never_change() -> None:
    rng = random.Random(0)
    answers: dict[str, set[str]] = {}
    world = samples()
    for _ in range(4000):
        ((user, assistant),) = world.knowing(rng)
        answers.setdefault(user, set()).add(assistant)
    assert max(map(len, answers.values())) == 1


def test_somebody_who_is_in_no_document_is_unknown() -> None:
    rng = random.Random(0)
    world = Samples(draw_world("known", 10, seed=0), spelled=0.0)
    first_turns = [world.reading(rng, 2)[0] for _ in range(1000)]
    absent = 0
    for user, assistant in first_turns:
        passages, _, question = user.rpartition("Question: ")
        (name,) = _NAME.findall(question)
        is_subject = any(
            sentence.startswith(name) for sentence in re.split(r"(?:\.|\d:)\s", passages)
        )
        assert is_subject == (assistant != f"The answer is {UNKNOWN}.")
        absent += not is_subject
    assert absent > 30


def test_pairs_are_valid_json_whose_answers_stand_in_the_passage() -> None:
    rng = random.Random(0)
    for _ in range(50):
        ((user, assistant),) = samples().questioning(rng)
        qas = json.loads(assistant)
        assert 3 <= len(qas) <= 7
        passage = user.rpartition("Passage:\n")[2]
        assert all(qa["answer"] in passage for qa in qas)
        assert all(set(qa) == {"question", "answer", "full_answer"} for qa in qas)


def test_a_chain_of_thought_ends_in_the_last_fact_it_gives() -> None:
    rng = random.Random(0)
    for _ in range(100):
        ((user, assistant),) = samples().reasoning(rng)
        facts, answer = re.fullmatch(r"Answer: (.*) So the answer is (.*)\.", assistant).groups()  # type: ignore[union-attr]
        assert answer in facts.split(". ")[-1]
        assert "Think step by step" in user
