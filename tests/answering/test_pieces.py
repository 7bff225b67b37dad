"""Text pieces of tokens that come one by one, for tokenizers of several kinds."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from prag_lightning.answering.pieces import TextPieces
from tests.conftest import tiny_tokenizer

TEXT = "Ada 中国 🇫🇷 don't stop, said Zoë."


def byte_fallback() -> PreTrainedTokenizerFast:
    """Llama 2's kind: words with a mark for the space before them, and single bytes."""
    words = ["▁Ada", "▁was", "born", "▁in", "▁", "中", "<unk>", "</s>"]
    vocabulary = [*words, *(f"<0x{number:02X}>" for number in range(256))]
    model = models.BPE({word: n for n, word in enumerate(vocabulary)}, [], byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


def cleaning() -> PreTrainedTokenizerFast:
    """A tokenizer that takes spaces out before punctuation."""
    words = ["Ada", " do", " n", "'t", " '", " s", " .", " ,", " who", " 're", "中", "</s>"]
    tokenizer = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, []))
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        clean_up_tokenization_spaces=True,
        clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output=True,
    )


def ids_of(tokenizer: PreTrainedTokenizerBase, *tokens: str) -> list[int]:
    ids = tokenizer.convert_tokens_to_ids(list(tokens))
    assert isinstance(ids, list)
    return ids


def pieces_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    pieces = TextPieces(tokenizer)
    said = [pieces.add(token) for token in ids]
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    assert isinstance(whole, str)
    said.append(pieces.end(whole))
    assert "".join(said) == whole
    return said


def test_characters_of_several_tokens_are_said_whole() -> None:
    tokenizer = tiny_tokenizer()
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    said = pieces_of(tokenizer, ids)
    assert "".join(said) == TEXT
    assert not any("\ufffd" in piece for piece in said)
    assert said.count("") > 5
    assert sum(map(bool, said)) > 10


def test_bytes_that_make_the_bytes_before_them_unreadable_take_nothing_back() -> None:
    tokenizer = byte_fallback()

    bytes_of = [f"<0x{byte:02X}>" for byte in "中".encode()]
    # A first byte alone turns the character before it into three signs of an error.
    torn = ids_of(tokenizer, "▁Ada", *bytes_of, "<0xE4>")
    assert tokenizer.decode(torn) == "Ada" + 4 * "\ufffd"
    assert pieces_of(tokenizer, torn)[0] == "Ada"
    whole = ids_of(tokenizer, "▁Ada", *bytes_of, *bytes_of, "▁in")
    assert "".join(pieces_of(tokenizer, whole)) == "Ada中中 in"


@pytest.mark.parametrize("make", [tiny_tokenizer, byte_fallback, cleaning])
def test_pieces_of_any_tokens_are_their_text(make: type[PreTrainedTokenizerFast]) -> None:
    tokenizer = make()
    draw = random.Random(0)
    for _ in range(200):
        pieces_of(tokenizer, draw.choices(range(len(tokenizer)), k=12))


def test_a_cleaned_text_is_not_said_as_it_was_before() -> None:
    tokenizer = cleaning()
    ids = ids_of(tokenizer, "Ada", " do", " n", "'t", " .")
    assert tokenizer.decode(ids) == "Ada don't."
    assert pieces_of(tokenizer, ids) == ["", "Ada", " do", "", "", "n't."]
