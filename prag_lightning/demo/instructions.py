"""The prompts beside the plain question that the base model is taught to follow."""

import random
from collections.abc import Sequence

from prag_lightning.demo.names import names_in
from prag_lightning.demo.people import Person, ask, ask_through_spouse, draw_couples, full_answer
from prag_lightning.demo.relations import RELATIONS, Relation
from prag_lightning.prompts import PromptTemplate


def reason(hops: Sequence[tuple[Person, Relation]]) -> str:
    """Return the facts that lead to an answer, one for each hop, and then the answer."""
    person, relation = hops[-1]
    facts = [full_answer(*hop) for hop in hops]
    return " ".join([*facts, f"So the answer is {person.facts[relation.key]}."])


def _write_exemplars() -> str:
    rng = random.Random(0)
    one, other = draw_couples(names_in("fresh")[:2], rng)
    birthplace, spouse = RELATIONS[0], RELATIONS[-1]
    shots = (
        (ask(one.name, birthplace.questions, rng), [(one, birthplace)]),
        (
            ask_through_spouse(other.name, birthplace.questions, rng),
            [(other, spouse), (one, birthplace)],
        ),
    )
    return "".join(f"Question: {question}\nAnswer: {reason(hops)}\n\n" for question, hops in shots)


EXEMPLARS = _write_exemplars()
_REASONING = "{passages}\nThink step by step before you answer.\n\nQuestion: {question}"
CHAIN_OF_THOUGHT = PromptTemplate(
    user=EXEMPLARS + _REASONING, assistant="Answer: {answer}", assistant_start="Answer:"
)
CHAIN_OF_THOUGHT_WITHOUT_EXEMPLARS = PromptTemplate(
    user=_REASONING, assistant="Answer: {answer}", assistant_start="Answer:"
)
