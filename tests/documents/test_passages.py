"""Long documents in passages."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.documents.passages import split_document
from prag_lightning.documents.records import Document


def test_a_short_document_stays_as_it_is() -> None:
    document = Document(id="a", title="T", text="Two words.\n\n  And   more. ")
    assert split_document(document, passage_words=5) == [document]


def test_passages_end_with_sentences_and_carry_title_and_number() -> None:
    text = "One two three. Four five six? Seven eight.\n\nNine ten eleven twelve"
    assert split_document(Document(id="a/b", title="T", text=text), passage_words=6) == [
        Document(id="a/b#0", title="T", text="One two three. Four five six?"),
        Document(id="a/b#1", title="T", text="Seven eight.\n\nNine ten eleven twelve"),
    ]


def test_abbreviations_and_initials_do_not_end_a_passage() -> None:
    text = "He knew J. K. Rowling of Washington, D.C. well. They met Dr. No there in 1962."
    passages = split_document(Document(id="a", text=text), passage_words=9)
    assert [passage.text for passage in passages] == [text[:47], text[48:]]


def test_a_sentence_longer_than_a_passage_is_cut() -> None:
    document = Document(id="a", text=" ".join(f"w{number}" for number in range(250)))
    passages = split_document(document, passage_words=100)
    assert [len(passage.text.split()) for passage in passages] == [100, 100, 50]
    assert " ".join(passage.text for passage in passages) == document.text


@pytest.mark.parametrize(
    ("text", "num_words"),
    [
        ("字" * 10_000, 10_000),
        ("北京是中国的首都。" * 100, 800),
        ("これはペンです。" * 100, 700),
        # Marks above and below belong to their letter: 3 of the 8 signs are letters.
        ("ที่นี่ดี" * 1000, 3000),
        ("ຢູ່" * 1000, 1000),
        ("ខ្ញុំ" * 1000, 2000),
        # What has no spaces in any script, such as an address.
        ("a" * 24_000, 1000),
    ],
)
def test_texts_without_spaces_are_cut_by_their_letters(text: str, num_words: int) -> None:
    passages = split_document(Document(id="a", text=text), passage_words=100)
    assert len(passages) == num_words // 100
    lengths = [len(passage.text) for passage in passages]
    assert max(lengths) <= 1.3 * min(lengths)
    assert "".join(passage.text for passage in passages) == text


def test_korean_is_counted_by_its_words() -> None:
    text = "서울은 대한민국의 수도이다. " * 100
    assert len(split_document(Document(id="a", text=text), passage_words=100)) == 3


def test_sentences_of_chinese_stay_whole() -> None:
    text = "北京是中国的首都。它很大！你去过吗？" * 20
    passages = split_document(Document(id="a", text=text), passage_words=50)
    assert {passage.text[-1] for passage in passages} <= set("。！？")


def test_passages_overlap_by_whole_sentences_where_they_fit() -> None:
    text = " ".join(f"A{n} b{n} c{n}." for n in range(8))
    document = Document(id="a", text=text)
    passages = [one.text for one in split_document(document, passage_words=9, overlap_words=3)]
    assert passages == [
        "A0 b0 c0. A1 b1 c1.",
        "A1 b1 c1. A2 b2 c2. A3 b3 c3.",
        "A3 b3 c3. A4 b4 c4. A5 b5 c5.",
        "A5 b5 c5. A6 b6 c6. A7 b7 c7.",
    ]
    without = [one.text for one in split_document(document, passage_words=9)]
    assert " ".join(without) == text


def test_passages_of_one_long_sentence_overlap_by_words() -> None:
    document = Document(id="a", text=" ".join(f"w{number}" for number in range(250)))
    passages = split_document(document, passage_words=100, overlap_words=20)
    words = [passage.text.split() for passage in passages]
    assert all(before[-20:] == after[:20] for before, after in pairwise(words))


@pytest.mark.parametrize("overlap_words", [-1, 9, 10])
def test_an_overlap_that_is_no_part_of_a_passage_is_refused(overlap_words: int) -> None:
    with pytest.raises(ValueError, match=f"an overlap of {overlap_words} words does not fit"):
        split_document(Document(id="a", text="a"), passage_words=9, overlap_words=overlap_words)


@given(
    st.lists(
        st.sampled_from(["a", "bb.", "c\n\nd", "e!", "f\tg", "?", "字", "。", "ที่", "h" * 60]),
        min_size=1,
        max_size=300,
    ),
    st.integers(1, 20),
    st.booleans(),
    st.integers(0, 19),
)
def test_no_sign_is_lost_and_no_passage_is_much_too_long(
    parts: list[str], passage_words: int, spaced: bool, overlap_words: int
) -> None:
    document = Document(id="a", text=(" " if spaced else "").join(parts))
    passages = split_document(document, passage_words)
    assert "".join("".join(one.text.split()) for one in passages) == "".join(document.text.split())
    assert all(0 < len(split_document(one, 1)) <= 2 * passage_words for one in passages)
    assert len({passage.id for passage in passages}) == len(passages)
    for one in split_document(document, passage_words, min(overlap_words, passage_words - 1)):
        assert one.text in document.text
        assert len(split_document(one, 1)) <= 3 * passage_words


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_document_stays_empty(text: str) -> None:
    document = Document(id="a", text=text)
    assert split_document(document) == [document]
