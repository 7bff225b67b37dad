"""Checking that what a language model wrote about a document is supported by its text."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cached_property

from prag_lightning.documents.records import Document, QuestionAnswer

# Such as 1,850 and 2:15, and the digits of B12.
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
)
# A capitalized word that does not begin a sentence, quotation or list item.
_NAME = re.compile(r"(?<=[\w,;)] )[A-Z]\w+")
_WORD = re.compile(r"\w+")
_LIST_NUMBER = re.compile(r"^[*#_ ]*(?:\w+ )?\d{1,2}[.):*]+", re.MULTILINE)
# Scripts without spaces between words, and Korean, whose particles are attached to words.
_WIDE = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]+"
)
# Shows that a text is German, in which all nouns are capitalized.
_GERMAN_WORDS = "der die das und ist ein eine mit von den"
_COMMON_WORDS = (
    "a about an and answer are at called can could did do does each for from had has have he her "
    "his how if in into is it its kind many much my name no not of on or our she so some than that "
    "the their them then there these they this to type used was we were what when where which who "
    "whom whose why will with would yes you your"
)
_COMMON = frozenset(_COMMON_WORDS.split())
# Words with the same beginning count as forms of one word: build, builds, building.
_STEM_LENGTH = 4


class Grounding:
    """Finds content of a text that is not in a document: numbers, names and words of an answer.

    A number up to twenty may be spelled out in the document. A name may appear in another form with
    the same first four letters, or as initials. Names are not checked in German, which capitalizes
    all nouns.

    Args:
        document: The document; its title and text are searched.
    """

    def __init__(self, document: Document) -> None:
        self._source = _plain_text(f"{document.title}\n{document.text}")

    def problem_of_pair(self, pair: QuestionAnswer) -> str:
        """Return why a question-answer pair is unsuitable; empty if it is suitable."""
        for part, text in (("question", pair.question), ("answer", pair.answer)):
            if strange := self.strange(text):
                return f"the {part} names {strange[0]}, which is not in the document"
        if self._share(pair.question) == 0:
            return "the question has no word in common with the document"
        if self._share(pair.answer) < 0.5:
            return "the answer is not in the document"
        return ""

    def problem_of_question(self, question: str) -> str:
        """Return why a question is not about the document; empty if it is.

        It may name what the document does not, but mostly has words in common with it.
        """
        return "" if self._share(question) >= 0.5 else "the question is not about the document"

    def problem_of_answer(self, pair: QuestionAnswer, sentence: str) -> str:
        """Return why a short answer from a sentence is unsuitable; empty if it is suitable.

        Args:
            pair: The question and the answer.
            sentence: The sentence that the question is about.
        """
        if pair.answer.casefold().strip(" .!") in pair.question.casefold():
            return "the question gives its answer away"
        inner = Grounding(Document(id="sentence", text=sentence))
        return "" if inner._share(pair.answer) >= 0.75 else "the answer is not in the sentence"

    def problem_of_text(self, text: str, least_length: float = 0.0) -> str:
        """Return why a text is unsuitable; empty if it is. A few unsupported names are allowed.

        Args:
            text: A text made from the document.
            least_length: Minimum length relative to the document's.
        """
        plain = _LIST_NUMBER.sub("", _plain_text(text))
        numbers, names = self._strange_numbers(plain), self._strange_names(plain)
        if numbers or 4 * len(names) > len(self._names_of(plain)):
            return f"it names {', '.join([*numbers, *names][:3])}, not in the document"
        if self._share(plain) < 0.25:
            return "it is about something else than the document"
        if len(plain) < least_length * len(self._source):
            return "it leaves out most of the document"
        return ""

    def strange(self, text: str) -> list[str]:
        """Return the distinct numbers and names in a text that are not in the document."""
        plain = _plain_text(text)
        return [*self._strange_numbers(plain), *self._strange_names(plain)]

    def _strange_numbers(self, plain: str) -> list[str]:
        found = dict.fromkeys(_NUMBER.findall(plain))
        return [number for number in found if _digits(number) not in self._numbers]

    def _strange_names(self, plain: str) -> list[str]:
        return [name for name in dict.fromkeys(self._names_of(plain)) if not self._has_word(name)]

    def _names_of(self, plain: str) -> list[str]:
        return [] if self._is_german else _NAME.findall(plain)

    def _share(self, text: str) -> float:
        """Return the share of a text's content words that are in the document; 1 if it has none."""
        words = list(_telling_words(_plain_text(text)))
        return sum(map(self._has_word, words)) / len(words) if words else 1.0

    def _has_word(self, word: str) -> bool:
        stem = word.casefold()[:_STEM_LENGTH]
        return stem in self._stems or word in self._source or word.rstrip("s") in self._initials

    @cached_property
    def _words(self) -> list[str]:
        return _WORD.findall(self._source)

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(word.casefold()[:_STEM_LENGTH] for word in self._words)

    @cached_property
    def _initials(self) -> str:
        """Initials of all longer words, in order, such as UMC for United Methodist Church."""
        return "".join(word[0].upper() for word in self._words if word.casefold() not in _COMMON)

    @cached_property
    def _numbers(self) -> frozenset[str]:
        digits = {_digits(number) for number in _NUMBER.findall(self._source)}
        words = {word.casefold() for word in self._words}
        spelled = {str(n) for n, word in enumerate(_NUMBER_WORDS.split()) if word in words}
        signs = (unicodedata.numeric(sign, None) for sign in set(self._source))
        return frozenset(digits | spelled | {f"{sign:g}" for sign in signs if sign is not None})

    @cached_property
    def _is_german(self) -> bool:
        return len({*_GERMAN_WORDS.split()}.intersection(map(str.casefold, self._words))) > 2


def _plain_text(text: str) -> str:
    """Return a text without accents, and with full-width letters and digits converted to ASCII."""
    parts = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f]", "", parts))


def _digits(number: str) -> str:
    return number.replace(",", "")


def _telling_words(plain: str) -> Iterator[str]:
    """Yield the content words of a text; character pairs in scripts without spaces."""
    for word in _WORD.findall(_WIDE.sub(" ", plain)):
        is_long = len(word) >= _STEM_LENGTH or word[0].isupper()
        if is_long and not word.isdecimal() and word.casefold() not in _COMMON:
            yield word
    for run in _WIDE.findall(plain):
        yield from (run[n : n + 2] for n in range(max(1, len(run) - 1)))
