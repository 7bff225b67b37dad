import random
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from prag_lightning.demo.people import draw_world, tell
from prag_lightning.language_model.base_model import load_tokenizer
from prag_lightning.language_model.embedded import BASE_DIR
from prag_lightning.language_model.prompts import PromptEncoder
from tools.demo_training.evaluate import evaluate, exact_answers
from tools.demo_training.packing import ATTENTION, ConversationEncoder, pack
from tools.demo_training.samples import Samples, Turn, ask_one_hop
from tools.demo_training.train import Settings

TOKENIZER = load_tokenizer("demo")
BASE: Any = AutoModelForCausalLM.from_pretrained(BASE_DIR, dtype=torch.float32)
KNOWN = draw_world("known", Settings().num_known, Settings().seed)


def test_the_shipped_weights_are_bfloat16_in_at_most_8_megabytes() -> None:
    assert AutoModelForCausalLM.from_pretrained(BASE_DIR).dtype == torch.bfloat16
    assert (BASE_DIR / "model.safetensors").stat().st_size <= 8e6
    assert len(TOKENIZER) <= BASE.config.vocab_size


def test_the_base_reads_knows_and_admits_what_it_does_not_know() -> None:
    BASE.set_attn_implementation(ATTENTION)
    strangers = Samples(KNOWN, split="validation", spelled=0.0)
    scores = evaluate(BASE, ConversationEncoder(TOKENIZER), strangers, num_questions=25)
    assert scores["read_1"] >= 0.95
    assert scores["read_3"] >= 0.9
    assert scores["know"] >= 0.95
    assert scores["not_know"] >= 0.8


def test_an_answer_is_exact_if_and_only_if_greedy_decoding_says_it() -> None:
    rng = random.Random(0)
    people = draw_world("validation", 10, seed=0)
    turns: list[Turn] = []
    for asked, told in zip(people, people[:5] + people[:5], strict=True):
        user, answer = ask_one_hop(asked, [tell(told, rng)], rng)
        turns.append((user, answer))
    BASE.set_attn_implementation(ATTENTION)
    exact = exact_answers(BASE, pack([ConversationEncoder(TOKENIZER).encode([t]) for t in turns]))
    BASE.set_attn_implementation("sdpa")
    assert exact[:5].any()
    assert not exact[5:].any()
    for (user, answer), is_exact in zip(turns, exact.tolist(), strict=True):
        chat = [{"role": "user", "content": user}]
        inputs: Any = TOKENIZER.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        said = BASE.generate(**inputs, max_new_tokens=12)
        assert (
            TOKENIZER.decode(said[0, inputs["input_ids"].shape[1] :]) == f"{answer}<|end|>"
        ) == is_exact


def test_generation_begins_as_training_does() -> None:
    prompts = PromptEncoder(TOKENIZER)
    whole, *_ = prompts.encode_training("Where was Mara Velden born?", [], "Borbury")
    start = prompts.encode_generation("Where was Mara Velden born?")
    assert whole[: len(start)] == start
