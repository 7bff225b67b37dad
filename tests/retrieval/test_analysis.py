"""The words of texts in English and in other scripts, in whichever form of Unicode."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.analysis import make_analyzer, prepare
from prag_lightning.retrieval.bm25 import BM25Retriever, build_index

ANALYZER = make_analyzer()


def words_of(text: str) -> list[str]:
    return ANALYZER.analyze(prepare(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The University's U.S.A.", ["universiti", "u.s.a"]),
        ("15,140 people paid $3.50", ["15,140", "peopl", "paid", "3.50"]),
        ("J. K. Rowling\u2019s books", ["j", "k", "rowl", "book"]),
        ("'s-Gravenhage", ["s", "gravenhag"]),
        ("flowed, flowing, flows", ["flow", "flow", "flow"]),
        ("To be or not to be", []),
        # Symbols end a word, as they did before their compatibility forms were looked at.
        ("Windows\u2122 95\u00bd, 20 m\u00b2", ["window", "95", "20", "m"]),
    ],
)
def test_text_is_analyzed_as_english(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京タワーは", ["東", "京", "東京", "京タ", "タワ", "ワー", "ーは"]),
        ("は", ["は"]),
        ("서울은", ["서", "울", "은", "서울", "울은"]),
        # A consonant counts with its marks.
        ("ที่นี่", ["ที่นี่"]),
        ("กรุงเทพ", ["กรุ", "รุง", "งเ", "เท", "ทพ"]),
        ("العاصمة", ["عاصم"]),
        ("столицей", ["столиц"]),
        ("भारत २०२४", ["भारत", "2024"]),
    ],
)
def test_scripts_without_spaces_become_pairs_and_others_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Zürich Café", unicodedata.normalize("NFD", "Zürich Café")),
        ("Café's owner", unicodedata.normalize("NFD", "Café's owner")),
        ("ＭＵＳＥＵＭ １２", "museum 12"),
        ("ﬁre STRASSE", "fire Straße"),
        ("co\u00adoperate", "cooperate"),
        ("ｶﾞﾗｽ", "ガラス"),
        ("\u0958\u0932", unicodedata.normalize("NFC", "\u0958\u0932")),
        ("각", unicodedata.normalize("NFD", "각")),
        ("كِتَاب", "كتاب"),
        ("٢٠٢٤", "2024"),
    ],
)
def test_forms_of_the_same_text_have_the_same_words(one: str, other: str) -> None:
    assert one != other
    assert words_of(one) == words_of(other)
    assert words_of(one)


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_normalization_never_changes_the_words(text: str) -> None:
    assert words_of(unicodedata.normalize("NFD", text)) == words_of(
        unicodedata.normalize("NFC", text)
    )


# A fact, and a question about it in other words around it.
PASSAGES = {
    "chinese": ("东京是日本的首都，人口最多。", "日本的首都是哪里？"),
    "japanese": ("富士山は日本で一番高い山です。", "一番高い山は何ですか"),
    "korean": ("서울은 대한민국의 수도이다.", "대한민국 수도는 어디인가?"),
    "thai": ("กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย", "เมืองหลวงของไทยคืออะไร"),
    "khmer": ("ភ្នំពេញជារាជធានីនៃប្រទេសកម្ពុជា", "រាជធានីកម្ពុជា"),
    "arabic": ("القاهرة هي عاصمة مصر.", "ما العاصمة المصرية لمصر؟"),
    "hindi": ("दिल्ली भारत की राजधानी है।", "भारत की राजधानी क्या है?"),
    "russian": ("Москва является столицей России.", "Какая столица у России?"),
    "german": ("Zürich ist die größte Stadt der Schweiz.", "größte Stadt?"),
}


@pytest.fixture(scope="module")
def retriever(tmp_path_factory: pytest.TempPathFactory) -> BM25Retriever:
    index_dir = tmp_path_factory.mktemp("scripts") / "index"
    # Texts as macOS writes them.
    texts = {name: unicodedata.normalize("NFD", text) for name, (text, _) in PASSAGES.items()}
    build_index((Document(id=name, text=text) for name, text in texts.items()), index_dir)
    return BM25Retriever(index_dir)


@pytest.mark.parametrize("language", PASSAGES)
def test_a_question_finds_the_passage_of_its_language(
    retriever: BM25Retriever, language: str
) -> None:
    [found] = retriever.retrieve([Question(id="q", question=PASSAGES[language][1])], top_k=1)
    assert [one.document_id for one in found] == [language]


def test_a_title_in_another_form_is_found(tmp_path: Path) -> None:
    title = unicodedata.normalize("NFD", "Zürich")
    build_index([Document(id="z", title=title, text="A town.")], tmp_path / "index")
    asked = Question(id="q", question=unicodedata.normalize("NFC", "Zürich?"))
    assert BM25Retriever(tmp_path / "index").retrieve([asked], 1)[0][0].document_id == "z"
