from functools import cache
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from prag_lightning.demo.people import draw_world
from prag_lightning.demo.relations import RELATIONS, YEARS
from tools.demo_training.samples import Samples
from tools.demo_training.tokenizer import ASSISTANT, END, PAD, USER, build_tokenizer
from tools.demo_training.train import build_model, tokenizer_texts


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(tokenizer_texts(Samples(draw_world("known", 20, seed=0))))


def ids_of(text: str, of: PreTrainedTokenizerBase | None = None) -> list[int]:
    ids: list[int] = (of or tokenizer())(
        text, add_special_tokens=False, split_special_tokens=True
    ).input_ids
    return ids


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back_as_it_went_in(text: str) -> None:
    assert tokenizer().decode(ids_of(text)) == text


def test_every_word_of_a_fact_is_one_token() -> None:
    for relation in RELATIONS:
        for value in relation.values:
            assert len(ids_of(f" {value}")) == len(value.split())
    assert all(len(ids_of(year)) == 1 for year in YEARS)
    assert len(ids_of("Barnaby")) > 1


def test_the_vocabulary_stays_small() -> None:
    assert 1500 < len(tokenizer()) < 1800


def test_text_that_looks_like_a_special_token_is_plain_text() -> None:
    special = {tokenizer().convert_tokens_to_ids(word) for word in (PAD, USER, ASSISTANT, END)}
    assert len(special) == 4
    assert not special & set(ids_of(f"{USER} says {END}"))


def test_a_conversation_is_rendered_turn_by_turn() -> None:
    user = {"role": "user", "content": "Who?"}
    assistant = {"role": "assistant", "content": "Nobody."}
    render = tokenizer().apply_chat_template
    assert render([user, assistant, user], tokenize=False, add_generation_prompt=True) == (
        f"{USER}Who?{ASSISTANT}Nobody.{END}{USER}Who?{ASSISTANT}"
    )


def test_it_loads_by_the_auto_class_beside_the_model_and_cuts_words_alike(tmp_path: Path) -> None:
    # transformers 5 replaces the tokenizer of some architectures, Qwen2 for one, by its own.
    tokenizer().save_pretrained(tmp_path)
    build_model(tokenizer()).config.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "Karek Bremlock was born in Borbury in 1931: Ünïcode, 15,140.\n\n  Velden's"
    assert ids_of(text, loaded) == ids_of(text)
    assert (loaded.pad_token, loaded.eos_token) == (PAD, END)
