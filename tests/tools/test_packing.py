import random

import torch
from transformers import AutoModelForCausalLM

from prag_lightning.demo.people import draw_world
from prag_lightning.language_model.base_model import load_tokenizer
from prag_lightning.language_model.embedded import BASE_DIR
from prag_lightning.language_model.prompts import PromptEncoder
from tools.demo_training.mix import MIX, TrainingSteps
from tools.demo_training.packing import ANSWER, ATTENTION, ConversationEncoder, model_inputs, pack
from tools.demo_training.samples import Samples, ask_one_hop

TOKENIZER = load_tokenizer("demo")
SAMPLES = Samples(draw_world("known", 100, seed=0))


def test_training_ids_are_those_of_the_prompt_encoder() -> None:
    encoder, prompts = ConversationEncoder(TOKENIZER), PromptEncoder(TOKENIZER)
    rng = random.Random(0)
    for _ in range(200):
        (person,) = SAMPLES.strangers(1, rng)
        user, assistant = ask_one_hop(person, [f"{person.name} was born in Gartown."], rng)
        ids, roles = encoder.encode([(user, assistant)])
        question = user.rpartition("Question: ")[2]
        answer = assistant.removeprefix("The answer is ")
        expected, start, _ = prompts.encode_training(
            question, [f"{person.name} was born in Gartown."], answer
        )
        assert ids == expected
        assert roles.index(ANSWER) == start


def test_words_are_looked_up_as_the_tokenizer_cuts_them() -> None:
    encoder = ConversationEncoder(TOKENIZER)
    rng = random.Random(0)
    for kind in MIX:
        for _ in range(30):
            turns = kind.draw(SAMPLES, rng)
            expected = [
                token
                for user, assistant in turns
                for token in TOKENIZER.apply_chat_template(
                    [
                        {"role": "user", "content": user},
                        {"role": "assistant", "content": assistant},
                    ],
                    return_dict=False,
                )
            ]
            assert encoder.encode(turns)[0] == expected


def test_packed_conversations_get_the_logits_that_each_gets_alone() -> None:
    rng = random.Random(0)
    encoder = ConversationEncoder(TOKENIZER)
    packed = pack([encoder.encode(SAMPLES.drill(rng)) for _ in range(3)])
    base = AutoModelForCausalLM.from_pretrained(BASE_DIR, dtype=torch.float64)
    alone = [
        base(input_ids=ids[None]).logits[0]
        for ids in packed.input_ids.split(packed.lengths.tolist())
    ]
    base.set_attn_implementation(ATTENTION)
    together = base(**model_inputs(packed)).logits[0]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-9)


def test_a_step_depends_on_the_seed_and_its_number_alone() -> None:
    def steps(seed: int) -> TrainingSteps:
        return TrainingSteps(SAMPLES, ConversationEncoder(TOKENIZER), seed, 2, 3000)

    first, again = steps(0), steps(0)
    again[0], again[5]
    torch.testing.assert_close(first[3].input_ids, again[3].input_ids)
    assert not torch.equal(first[3].input_ids, first[4].input_ids)
    assert not torch.equal(first[3].input_ids, steps(1)[3].input_ids)


def test_all_steps_have_the_same_shapes() -> None:
    steps = TrainingSteps(SAMPLES, ConversationEncoder(TOKENIZER), 0, 1, 3000)
    for step in range(3):
        packed = steps[step]
        assert packed.input_ids.shape == packed.roles.shape == (3000,)
        assert packed.lengths.shape == steps[0].lengths.shape
        assert packed.lengths.sum() == 3000
