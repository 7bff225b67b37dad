"""Augmentation without a language model: a baseline, and something to test with.

A rewrite is the document's sentences in another order. A question is made from a sentence: with its
own words where it begins with the document's title and goes on plainly, else by leaving some out.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, zip_longest

from prag_lightning.augmentation.draft import Failure, Outcome, Usage
from prag_lightning.augmentation.outcome_files import Settings
from prag_lightning.documents.records import Augmentation, Document, QuestionAnswer

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"\u201c\u2018(]?[A-Z0-9])")
_ABBREVIATION = re.compile(
    r"\b([A-Z]|Mr|Mrs|Ms|Dr|St|Jr|Sr|Prof|Gen|Col|Lt|vs|No|ca?|e\.g|i\.e)\.$"
)

_NAME = r"[A-Z][\w'\u2019-]*(?: [A-Z][\w'\u2019-]*)*"
_NUMBER = r"\d+(?:[.,]\d+)*"
_PREPOSITION = r"in|at|from|to|by|for|on|of|with|as"
_PARTICIPLE = r"\w{3,}ed"
_VERB = r"(?P<verb>[a-z]+s|are|were|had)"
# What follows the title in "Ada Byron was born in London", "Ada Byron has a seat at Ockham Park".
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
_GAP = re.compile(rf"\b(?:{_NAME}|{_NUMBER})")
_LAST_WORD = re.compile(r"[\w-]+(?=\W*$)")


class TemplateGenerator:
    """Makes augmentations from a document's own sentences; the same document gives the same.

    Args:
        num_rewrites: Rewrites of each document.
        num_qas: Question-answer pairs about it. The first ask about one sentence each.
    """

    max_attempts = 1

    def __init__(self, num_rewrites: int = 1, num_qas: int = 3) -> None:
        if num_rewrites < 0 or num_qas < 1:
            raise ValueError(
                f"num_rewrites {num_rewrites} and num_qas {num_qas}: give at least 0 and 1"
            )
        self.settings: Settings = {
            "generator": "template",
            "num_rewrites": num_rewrites,
            "num_qas": num_qas,
        }
        self._num_rewrites = num_rewrites
        self._num_qas = num_qas

    def augment(self, documents: Sequence[Document], deliver: Callable[[Outcome], None]) -> Usage:
        """Call ``deliver`` with the outcome of each document, in their order; no model is used."""
        for document in documents:
            deliver(Outcome(self._augment(document)))
        return Usage()

    def _augment(self, document: Document) -> Augmentation | Failure:
        sentences = split_sentences(document.text)
        qas = list(islice(_draw_pairs(sentences, document.title), self._num_qas))
        if len(qas) < self._num_qas:
            return Failure(
                document_id=document.id,
                reason=f"its sentences give {len(qas)} of {self._num_qas} question-answer pairs",
                num_attempts=1,
                answer="",
            )
        starts = (number % len(sentences) for number in range(1, self._num_rewrites + 1))
        rewrites = [" ".join(sentences[start:] + sentences[:start]) for start in starts]
        return Augmentation(document_id=document.id, rewrites=rewrites, qas=qas)


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text.

    >>> split_sentences("J. Smith met Dr. No in 1962. Who won?")
    ['J. Smith met Dr. No in 1962.', 'Who won?']
    """
    sentences: list[str] = []
    for part in _SENTENCE_END.split(" ".join(text.split())):
        if sentences and _ABBREVIATION.search(sentences[-1]):
            sentences[-1] += f" {part}"
        else:
            sentences.append(part)
    return [sentence for sentence in sentences if sentence]


def _draw_pairs(sentences: Sequence[str], title: str) -> Iterator[QuestionAnswer]:
    """Yield one pair for every sentence, then a second one, as long as there are any."""
    rounds = zip_longest(*(_sentence_pairs(sentence, title) for sentence in sentences))
    asked: set[str] = set()
    for pair in (pair for pairs in rounds for pair in pairs if pair is not None):
        if pair.question not in asked:
            asked.add(pair.question)
            yield pair


def _sentence_pairs(sentence: str, title: str) -> Iterator[QuestionAnswer]:
    plain = sentence.rstrip(".!? ")
    if asked := _ask(plain, title):
        question, value = asked
        answer = value[found.end() :] if (found := _LEADING_WORDS.match(value)) else value
        yield QuestionAnswer(question=question, answer=answer, full_answer=sentence)
    gaps = [gap for gap in _GAP.finditer(plain) if gap.start()] or list(_LAST_WORD.finditer(plain))
    for gap in reversed(gaps):
        question = f'What is missing in "{plain[: gap.start()]}____{plain[gap.end() :]}"?'
        yield QuestionAnswer(question=question, answer=gap.group(), full_answer=sentence)


def _ask(sentence: str, title: str) -> tuple[str, str] | None:
    """Return a question and its answer, if the sentence says something plain about the title."""
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
    """Return the beginning and the end of the question that ``value`` answers."""
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
