"""The words that BM25 compares: English as Elasticsearch finds them, other scripts as they need.

English is what Elasticsearch's analyzer ``english`` makes of it, but for the newer Porter stemmer.
"""

import re
import unicodedata
from functools import partial
from itertools import pairwise

import regex
import tantivy

# Words as Lucene's standard tokenizer finds them (Unicode Standard Annex 29), near enough: "U.S.A."
# and "15,140" are one word each.
_WORD = r"\d+(?:[.,]\d+)+|\w+(?:['\u2019.]\w+)*"
_POSSESSIVE = re.compile(r"(?<=\w)['\u2019]s\b", re.IGNORECASE)
# Lucene's default stop words of English.
_STOP_WORDS = [
    *("a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is"),
    *("it", "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there"),
    *("these", "they", "this", "to", "was", "will", "with"),
]
# Compatibility forms would make letters of them, and "Windows\u2122" another word than "Windows".
_SYMBOLS = regex.compile(r"[\p{So}\p{No}]+")
# Joiners, direction marks, soft hyphens: not to be seen, and not in everyone's spelling.
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.VERSION1)
# What is written without spaces, or with particles that stick to words; SA are the scripts of
# South East Asia. A character counts with its marks.
_UNSPACED = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Bopomofo}\p{Yi}\p{Hangul}\p{Line_Break=SA}]\p{M}*"
)
_CHARACTER = regex.compile(_UNSPACED)
_UNSPACED_RUN = regex.compile(rf"(?:{_UNSPACED})+")
# Where a single character can be a word.
_SYLLABLE_OR_IDEOGRAPH = regex.compile(r"[\p{Han}\p{Hangul}]")


def make_analyzer() -> tantivy.TextAnalyzer:
    """Return the analyzer of texts that went through `prepare`."""
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
    r"""Return a text in the form that the analyzer splits at spaces and punctuation.

    The forms of Unicode become one (NFKC, case folded, digits of ASCII), possessive ``'s`` goes,
    Arabic and Cyrillic words become stems, and runs of scripts without spaces become their
    ideographs and pairs of neighbouring characters.

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
