"""Text analysis for BM25: as in Elasticsearch for English, and suited to other scripts.

English is analyzed as by Elasticsearch's analyzer ``english``, but with the newer Porter stemmer.
"""

import re
import unicodedata
from functools import partial
from itertools import pairwise

import regex
import tantivy

# Approximates the words of Lucene's standard tokenizer (Unicode Standard Annex 29): "U.S.A." and
# "15,140" are one word each.
_WORD = r"\d+(?:[.,]\d+)+|\w+(?:['\u2019.]\w+)*"
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019]s\b", re.IGNORECASE)
# Lucene's default English stop words.
_STOP_WORDS = [
    *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is"),
    *("it", "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there"),
    *("these", "they", "this", "to", "was", "will", "with"),
]
# Removed, since compatibility forms would turn them into letters and "Windows\u2122" into another
# word than "Windows".
_SYMBOLS = regex.compile(r"[\p{So}\p{No}]+")
# Joiners, direction marks, soft hyphens: invisible, and not used by everyone.
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.VERSION1)
# Scripts without spaces, or with particles attached to words; SA covers the scripts of Southeast
# Asia. A character includes its combining marks.
_UNSPACED = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Bopomofo}\p{Yi}\p{Hangul}\p{Line_Break=SA}]\p{M}*"
)
_CHARACTER = regex.compile(_UNSPACED)
_UNSPACED_RUN = regex.compile(rf"(?:{_UNSPACED})+")
# Scripts in which a single character can be a word.
_SYLLABLE_OR_IDEOGRAPH = regex.compile(r"[\p{Han}\p{Hangul}]")


def make_analyzer() -> tantivy.TextAnalyzer:
    """Return the analyzer for texts processed by `prepare`."""
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(_WORD))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.custom_stopword(_STOP_WORDS))
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def _stemmer(language: str) -> tantivy.TextAnalyzer:
    words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.raw())
    return words.filter(tantivy.Filter.stemmer(language)).build()


_STEMMED_SCRIPTS = [
    (regex.compile(r"\p{Arabic}[\p{Arabic}\p{M}]*"), _stemmer("arabic")),
    (regex.compile(r"\p{Cyrillic}[\p{Cyrillic}\p{M}]*"), _stemmer("russian")),
]


def prepare(text: str) -> str:
    r"""Normalize a text such that the analyzer can split it at spaces and punctuation.

    Unicode variants are unified (NFKC, case folding, ASCII digits), possessive ``'s`` is removed,
    Arabic and Cyrillic words are stemmed, and runs of scripts without spaces are replaced by their
    ideographs and pairs of adjacent characters.

    >>> prepare("Zu\u0308rich's ＭＵＳＥＵＭ")
    'zürich museum'
    >>> prepare("東京タワー")
    ' 東 京 東京 京タ タワ ワー '
    """
    if text.isascii():
        return _POSSESSIVE.sub("", text)
    text = _SYMBOLS.sub(" ", text)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = _INVISIBLE.sub("", text)
    text = _DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0], digit[0])), text)
    text = _POSSESSIVE.sub("", text)
    for words, stemmer in _STEMMED_SCRIPTS:
        text = words.sub(partial(_stem, stemmer), text)
    return _UNSPACED_RUN.sub(_as_words, text)


def _stem(stemmer: tantivy.TextAnalyzer, word: "regex.Match[str]") -> str:
    return "".join(stemmer.analyze(word[0]))


def _as_words(run: "regex.Match[str]") -> str:
    characters = _CHARACTER.findall(run[0])
    if len(characters) == 1:
        return f" {run[0]} "
    words = [one for one in characters if _SYLLABLE_OR_IDEOGRAPH.match(one)]
    words += map("".join, pairwise(characters))
    return f" {' '.join(words)} "
