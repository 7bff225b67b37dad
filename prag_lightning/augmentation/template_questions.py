"""Making questions from a document's own sentences, without a language model.

A simple sentence that begins with the document's title is rephrased as a question; in others, some
words are left out.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from prag_lightning.documents.records import QuestionAnswer

_WORD = r"[A-Z][\w'\u2019-]*"
_NAME = rf"{_WORD}(?: {_WORD})*"
_NUMBER = r"\d+(?:[.,]\d+)*"
_PREPOSITION = r"in|at|from|to|by|for|on|of|with|as"
_PARTICIPLE = r"\w{3,}ed"
_VERB = r"(?P<verb>[a-z]+s|are|were|had)"
# Text after the title, as in "Ada Byron was born in London", "Ada Byron has a seat at Ockham Park".
_WITH_PREPOSITION = re.compile(
    rf"{_VERB}(?P<middle>(?: [\w'\u2019-]+)*?) (?P<preposition>{_PREPOSITION}) "
    rf"(?P<value>(?:the year )?{_NUMBER}|{_NAME}|(?:an?|the) [\w-]+)"
)
# "Ada Byron dresses in red".
_WITH_BARE_NOUN = re.compile(
    rf"{_VERB}(?P<middle>) (?P<preposition>{_PREPOSITION}) (?P<value>[a-z-]+)"
)
# "Ada Byron is a writer by profession".
_WITH_NOUN = re.compile(
    r"(?P<verb>is|was)(?P<participle>) (?P<value>an? [\w-]+)(?P<rest>(?: by .+)?)"
)
# "Ada Byron plays the piano", "Ada Byron has 1815 as year of birth".
_WITH_OBJECT = re.compile(
    rf"(?P<verb>(?!is |was )[a-z]+s|had)(?P<participle>(?: {_PARTICIPLE})?) "
    rf"(?!(?:{_PREPOSITION}|{_PARTICIPLE})\b)"
    rf"(?P<value>(?:(?:an?|the) )?[\w-]+)(?P<rest>(?: (?:{_PREPOSITION}|every|best|most) .+)?)"
)
_AUXILIARIES = ("is", "was", "are", "were")
_LEADING_WORDS = re.compile(r"(?:an?|the year|the) ")
# Includes words that join names: "Museum of the Moving Image", "55.1 %".
_GAP = re.compile(rf"\b(?:{_WORD}(?: (?:of (?:the )?)?{_WORD})*|{_NUMBER}(?: ?%)?)")
# Words that no other language in Latin script has.
_ENGLISH = re.compile(r"\b(?:the|and|with|from|which|by|were|has|have)\b", re.IGNORECASE)
_YEAR = re.compile(r"1\d{3}|20\d{2}")
_LAST_WORD = re.compile(r"(?<=[\s'\u2019-])\w+(?=\W*$)")
# Words in Chinese and Japanese, which have no spaces: katakana, or ideographs between function
# words.
_WIDE_GAP = re.compile(
    r"\d[\d.,]*(?=[\u3000-\u9fff])|[\u30a1-\u30fa\u30fc]{2,}"
    r"|(?:(?![\u662f\u5728\u7684\u4e86\u548c\u6709\u4e3a\u70ba\u4e8e\u65bc\u4e0e\u8207\u53ca\u4ee5\u4ece\u5f9e\u5230\u88ab\u628a\u5c06\u5c07])"
    r"[\u4e00-\u9fff]){2,}"
)
_SENTENCE_END = ".!?\u2026\u3002\uff01\uff1f\u061f\u0964 "


def draw_pairs(sentences: Sequence[str], title: str) -> Iterator[QuestionAnswer]:
    """Yield one pair for every sentence, then second ones, as long as there are any.

    Args:
        sentences: Sentences of the document.
        title: Title of the document.
    """
    rounds = zip_longest(*(_sentence_pairs(sentence, title) for sentence in sentences))
    asked: set[str] = set()
    for pair in (pair for pairs in rounds for pair in pairs if pair is not None):
        if pair.question not in asked:
            asked.add(pair.question)
            yield pair


def _sentence_pairs(sentence: str, title: str) -> Iterator[QuestionAnswer]:
    plain = sentence.rstrip(_SENTENCE_END)
    if asked := _ask(plain, title):
        question, value = asked
        answer = value[found.end() :] if (found := _LEADING_WORDS.match(value)) else value
        yield QuestionAnswer(question=question, answer=answer, full_answer=sentence)
    for gap in reversed(_find_gaps(plain)):
        yield QuestionAnswer(
            question=_ask_for_gap(plain, gap), answer=gap.group(), full_answer=sentence
        )


def _ask_for_gap(plain: str, gap: re.Match[str]) -> str:
    """Return a question in the sentence's own words, or, if it is not English, about the gap."""
    before, after = plain[: gap.start()], plain[gap.end() :]
    if not _ENGLISH.search(plain):
        return f'What is missing in "{before}____{after}"?'
    value = gap.group()
    asked = "what"
    if value[0].isdigit():
        asked = "what percentage" if value.endswith("%") else "how many"
        asked = "which year" if _YEAR.fullmatch(value) else asked
    return f"{before}{asked}{after}?"


def _find_gaps(plain: str) -> list[re.Match[str]]:
    """Return the parts of a sentence that can be left out without leaving it empty."""
    for pattern in (_GAP, _WIDE_GAP, _LAST_WORD):
        if gaps := [gap for gap in pattern.finditer(plain) if gap.start()]:
            return gaps
    return []


def _ask(sentence: str, title: str) -> tuple[str, str] | None:
    """Return a question and its answer if the sentence is a simple statement about the title."""
    if not title or not sentence.startswith(f"{title} "):
        return None
    predicate = sentence[len(title) + 1 :]
    if found := _WITH_PREPOSITION.fullmatch(predicate) or _WITH_BARE_NOUN.fullmatch(predicate):
        start, end = _question_words(found["preposition"], found["value"])
        return _question(start, title, found["verb"], found["middle"] + end), found["value"]
    if found := _WITH_NOUN.fullmatch(predicate) or _WITH_OBJECT.fullmatch(predicate):
        end = found["participle"] + found["rest"]
        return _question("What", title, found["verb"], end), found["value"]
    return None


def _question_words(preposition: str, value: str) -> tuple[str, str]:
    """Return the start and the end of a question whose answer is ``value``."""
    if preposition == "in" and re.fullmatch(r"(?:the year )?\d{4}", value):
        return "In which year", ""
    if not value[0].isupper():
        return "What", f" {preposition}"
    if preposition in ("in", "at", "from"):
        return "Where", " from" if preposition == "from" else ""
    return "Who or what", f" {preposition}"


def _question(start: str, subject: str, verb: str, end: str) -> str:
    if verb in _AUXILIARIES or (verb in ("has", "had") and re.match(rf" {_PARTICIPLE}\b", end)):
        return f"{start} {verb} {subject}{end}?"
    auxiliary = "did" if verb == "had" else "does"
    return f"{start} {auxiliary} {subject} {_infinitive(verb)}{end}?"


def _infinitive(verb: str) -> str:
    """Return the infinitive of a verb in the third person.

    >>> [_infinitive(verb) for verb in ("plays", "dresses", "studies", "has", "loves")]
    ['play', 'dress', 'study', 'have', 'love']
    """
    if verb in ("has", "had"):
        return "have"
    if verb.endswith("ies"):
        return verb[:-3] + "y"
    return verb[:-2] if re.search(r"(ss|sh|ch|x|zz|o)es$", verb) else verb[:-1]
