import pytest

from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.language_model.vocabulary import check_vocabulary
from tests.conftest import tiny_base, tiny_tokenizer
from tests.language_model.architectures import tiny


def test_a_tokenizer_of_the_base_fits() -> None:
    check_vocabulary(tiny_base(), PromptEncoder(tiny_tokenizer()))


def test_a_tokenizer_with_more_tokens_than_the_base_reads_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    base = tiny("llama", vocab_size=tokenizer.vocab_size - 1)
    with pytest.raises(ValueError, match=r"has \d+ tokens, but LlamaForCausalLM reads \d+; use"):
        check_vocabulary(base, PromptEncoder(tokenizer))


@pytest.mark.parametrize("role", ["eos_token", "in the template"])
def test_an_added_token_of_every_prompt_that_the_base_does_not_read_is_refused(role: str) -> None:
    tokenizer = tiny_tokenizer()
    base = tiny("llama", vocab_size=len(tokenizer))
    check_vocabulary(base, PromptEncoder(tokenizer))
    if role == "eos_token":
        tokenizer.add_special_tokens({role: "<|new|>"})
    else:
        tokenizer.add_tokens(["<|new|>"])
        tokenizer.chat_template = "<|new|>{{ messages[0].content }}"
    with pytest.raises(ValueError, match=r"puts '<\|new\|>', token \d+, into every prompt"):
        check_vocabulary(base, PromptEncoder(tokenizer))


def test_added_tokens_that_no_prompt_holds_need_no_embedding() -> None:
    tokenizer = tiny_tokenizer()
    base = tiny("llama", vocab_size=len(tokenizer))
    tokenizer.add_tokens(["<|new|>"])
    # As `pad_token` of many tokenizers.
    tokenizer.add_special_tokens({"pad_token": "<|padding|>"})
    encoder = PromptEncoder(tokenizer)
    check_vocabulary(base, encoder)
    ids = encoder.encode_generation("Where?", ["Ada <|new|> <|padding|>"])
    assert max(ids) < base.config.vocab_size
