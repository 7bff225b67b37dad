"""Evaluates how well the base model reads, recalls facts, and admits not to know."""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from prag_lightning.demo.people import ONE_HOP, tell
from tools.demo_training.packing import ANSWER, ConversationEncoder, Packed, model_inputs, pack
from tools.demo_training.samples import UNKNOWN, Samples, Turn, ask_one_hop, ask_two_hop, direct

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def _read(num_documents: int) -> Callable[[Samples, random.Random], Turn]:
    def draw(samples: Samples, rng: random.Random) -> Turn:
        people = samples.strangers(num_documents, rng)
        return ask_one_hop(rng.choice(people), [tell(person, rng) for person in people], rng)

    return draw


def _read_two_hops(samples: Samples, rng: random.Random) -> Turn:
    while True:
        people = samples.strangers(2, rng)
        if people[0].facts["spouse"] == people[1].name:
            return ask_two_hop(people[0], people[1], [tell(person, rng) for person in people], rng)


def _know(samples: Samples, rng: random.Random) -> Turn:
    return ask_one_hop(rng.choice(samples.known), (), rng)


def _not_know(samples: Samples, rng: random.Random) -> Turn:
    (person,) = samples.strangers(1, rng)
    question = rng.choice(rng.choice(ONE_HOP).all_questions).format(name=person.name)
    return direct(question, UNKNOWN, ())


ABILITIES: Mapping[str, Callable[[Samples, random.Random], Turn]] = {
    "read_1": _read(1),
    "read_2": _read(2),
    "read_3": _read(3),
    "read_two_hops": _read_two_hops,
    "know": _know,
    "not_know": _not_know,
}


def evaluate(
    model: "PreTrainedModel",
    encoder: ConversationEncoder,
    samples: Samples,
    num_questions: int = 200,
) -> dict[str, float]:
    """Return the share of questions of each ability that greedy decoding answers exactly.

    Args:
        model: The base model, on any device.
        encoder: Encodes conversations with its tokenizer.
        samples: Known people, and the split of unseen people.
        num_questions: Number of questions for each ability.
    """
    scores: dict[str, float] = {}
    for name, draw in ABILITIES.items():
        rng = random.Random(name)
        packed = pack([encoder.encode([draw(samples, rng)]) for _ in range(num_questions)])
        scores[name] = exact_answers(model, packed).float().mean().item()
    return scores


@torch.compiler.set_stance("force_eager")  # type: ignore[untyped-decorator]
@torch.no_grad()
def exact_answers(model: "PreTrainedModel", packed: Packed) -> torch.Tensor:
    """Return for each conversation whether greedy decoding gives its answer, shape ``(rows,)``.

    It does if and only if each token of the answer is the likeliest after the previous ones, so one
    forward pass is enough.
    """
    packed = packed.to(model.device)
    likeliest = model(**model_inputs(packed)).logits[0, :-1].argmax(-1)
    wrong = (likeliest != packed.input_ids[1:]) & (packed.roles[1:] == ANSWER)
    num_wrong = torch.zeros(len(packed.lengths), dtype=torch.long, device=model.device)
    return num_wrong.index_add(0, packed.rows[1:], wrong.long()) == 0
