"""The prompts beside the plain question that the base model is taught to follow."""

import random
from collections.abc import Sequence

from prag_lightning.demo.names import names_in
from prag_lightning.demo.people import Person, ask, ask_through_spouse, draw_couples, full_answer
from prag_lightning.demo.relations import RELATIONS, Relation
from prag_lightning.prompts import PromptTemplate

# The published augmentation prompts (Su et al. 2025, arXiv:2501.15915); the example of the second
# lacks a comma there and so would teach invalid JSON.
REWRITE_PROMPT = (
    "Rewrite the following passage. While keeping the entities, proper nouns, and key details such "
    "as names, locations, and terminology intact, create a new version of the text that expresses "
    "the same ideas in a different way. Make sure the revised passage is distinct from the "
    "original one, but preserves the core meaning and relevant information.\n{passage}"
)
QA_PROMPT = (
    "I will provide a passage of text, and you need to generate {number} different questions based "
    "on the content of this passage. Each question should be answerable using the information "
    "provided in the passage. Additionally, please provide an appropriate answer for each question "
    "derived from the passage.\nYou need to generate the question and answer in the following "
    'format:\n[\n    {{\n        "question": "What is the capital of France?",\n'
    '        "answer": "Paris",\n        "full_answer": "The capital of France is Paris."\n    }}\n'
    "]\n\nThis list should have at least {number} elements. You only need to output this list in "
    "the above format.\nPassage:\n{passage}"
)
NUMBER_WORDS = {3: "three", 4: "four", 5: "five", 6: "six", 7: "seven"}


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
