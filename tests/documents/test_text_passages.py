"""Long documents in passages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.documents.formats.text import split_document
from prag_lightning.documents.records import Document


def test_a_short_document_stays_as_it_is() -> None:
    document = Document(id="a", title="T", text="Two words.\n\n  And   more. ")
    assert split_document(document, passage_words=5) == [document]


def test_passages_end_with_sentences_and_carry_title_and_number() -> None:
    text = "One two three. Four five six? Seven eight.\n\nNine ten eleven twelve"
    assert split_document(Document(id="a/b", title="T", text=text), passage_words=6) == [
        Document(id="a/b#0", title="T", text="One two three. Four five six?"),
        Document(id="a/b#1", title="T", text="Seven eight. Nine ten eleven twelve"),
    ]


def test_a_sentence_longer_than_a_passage_is_cut() -> None:
    document = Document(id="a", text=" ".join(f"w{number}" for number in range(250)))
    passages = split_document(document, passage_words=100)
    assert [len(passage.text.split()) for passage in passages] == [100, 100, 50]
    assert " ".join(passage.text for passage in passages) == document.text


@given(
    st.lists(st.sampled_from(["a", "bb.", "c\n\nd", "e!", "f\tg", "?"]), min_size=1, max_size=300),
    st.integers(1, 20),
)
def test_no_word_is_lost_and_no_passage_is_much_too_long(
    words: list[str], passage_words: int
) -> None:
    text = " ".join(words)
    passages = split_document(Document(id="a", text=text), passage_words)
    assert " ".join(passage.text for passage in passages).split() == text.split()
    assert all(0 < len(passage.text.split()) <= 2 * passage_words for passage in passages)
    assert len({passage.id for passage in passages}) == len(passages)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_document_stays_empty(text: str) -> None:
    document = Document(id="a", text=text)
    assert split_document(document) == [document]
