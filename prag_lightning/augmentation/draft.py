"""One document on its way to its augmentation: what to ask next, what came of the answers."""

import hashlib
import re
from collections import Counter
from functools import cached_property

from prag_lightning.augmentation.answers import AnswerError, read_rewrite
from prag_lightning.augmentation.grounding import Grounding
from prag_lightning.augmentation.outcomes import Failure, Outcome, Usage
from prag_lightning.augmentation.pairs import FoundPair, read_pairs
from prag_lightning.augmentation.prompts import (
    question_prompt,
    rewrite_prompt,
    single_pair_prompt,
)
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.settings import Order
from prag_lightning.augmentation.statements import find_statements
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import Augmentation, Document, QuestionAnswer

LIST = "question-answer pairs"
# A model that twice writes no list is asked for one pair at a time.
_LIST_ATTEMPTS = 2


class Draft:
    """Asks for the parts of a document's augmentation, each again while its answer is of no use.

    Args:
        document: What to augment.
        order: What is wanted of it.
        kept: What is good of it already.
    """

    def __init__(self, document: Document, order: Order, kept: Augmentation | None = None) -> None:
        self.document_id = document.id
        self._document = document
        self._order = order
        self._grounding = Grounding(document)
        self._rewrites = dict.fromkeys(_names("rewrite", order.num_rewrites), "")
        self._pairs: dict[str, QuestionAnswer | None] = dict.fromkeys(_names("pair", order.num_qas))
        if kept is not None:
            self._rewrites.update(zip(self._rewrites, kept.rewrites, strict=False))
            self._pairs.update(zip(self._pairs, kept.qas, strict=False))
        self._attempts: Counter[str] = Counter()
        self._given_up: set[str] = set()
        # The last problem of what was asked for, and the answer that had it.
        self._problems: dict[str, tuple[str, str]] = {}
        self._usage = Usage()

    @property
    def requests(self) -> list[Request]:
        """What to ask now; nothing once all is there or has been asked for often enough."""
        return [self._request(name) for name in self._open_names()]

    @property
    def num_open(self) -> int:
        """How many requests there are now."""
        return len(self._open_names())

    def accept(self, request: Request, reply: Reply) -> str | None:
        """Take an answer in, or see to it that the request is made again.

        Args:
            request: One of `requests`.
            reply: What came of it.

        Returns:
            Why the answer is of no use, or not enough; None if it is good.
        """
        name = request.name
        self._usage += reply.usage
        problem = reply.problem or self._take(name, reply)
        self._attempts[name] += 1
        if problem is None:
            return None
        self._usage += Usage(num_refused=1)
        if reply.is_cut:
            problem += f" (cut after {reply.usage.num_new_tokens} tokens)"
        self._problems[name] = problem, reply.text
        most = self._order.max_attempts
        if name == LIST:
            most = min(_LIST_ATTEMPTS, most)
        if reply.problem is not None or self._attempts[name] >= most:
            self._given_up.add(name)
        return problem

    @property
    def outcome(self) -> Outcome:
        """What became of the document, once there are no more requests."""
        assert not self.num_open
        digest = text_digest(self._document)
        rewrites = [text for text in self._rewrites.values() if text]
        qas = [pair for pair in self._pairs.values() if pair]
        made = Augmentation(
            document_id=self._document.id, rewrites=rewrites, qas=qas, text_digest=digest
        )
        failure = None
        if missing := [*self._missing_pairs(), *self._missing_rewrites()]:
            failure = self._failure(missing, digest)
        return Outcome(self._document.id, made if rewrites or qas else None, failure, self._usage)

    def _failure(self, missing: list[str], digest: str) -> Failure:
        asked = [name for name in missing if name in self._problems]
        reason, answer = "the document has no text", ""
        if asked:
            problem, answer = self._problems[asked[0]]
            reason = f"{asked[0]}: {problem}"
            if num_missing := len(self._missing_pairs()):
                num_found = len(self._pairs) - num_missing
                reason = f"{num_found} of {len(self._pairs)} {LIST}; {reason}"
        return Failure(
            document_id=self._document.id,
            reason=reason,
            num_attempts=max(self._attempts[name] for name in missing),
            answer=answer,
            text_digest=digest,
        )

    def _open_names(self) -> list[str]:
        if not self._document.text.strip():
            return []
        pairs = self._missing_pairs()
        if pairs and self._order.pairs == "list" and LIST not in self._given_up:
            pairs = [LIST]
        names = [*pairs, *self._missing_rewrites()]
        return [name for name in names if name not in self._given_up]

    @cached_property
    def _statements(self) -> list[str]:
        return find_statements(self._document) or [self._document.text]

    def _missing_pairs(self) -> list[str]:
        return [name for name, pair in self._pairs.items() if pair is None]

    def _missing_rewrites(self) -> list[str]:
        return [name for name, text in self._rewrites.items() if not text]

    def _request(self, name: str) -> Request:
        attempt = self._attempts[name]
        seed = _derive_seed(self._order.seed, self._document.id, name, attempt)
        if name == LIST:
            return Request(name, question_prompt(self._document.text, self._order.num_qas), seed)
        if name in self._rewrites:
            return Request(name, rewrite_prompt(self._document.text), seed)
        turn = self._turn(name)
        prompt, examples = single_pair_prompt(self._sentence(turn), self._document.title, turn)
        return Request(name, prompt, seed, examples, is_short=True)

    def _turn(self, name: str) -> int:
        """Return a number by which every pair, and every attempt at it, has its sentence."""
        return [*self._pairs].index(name) + self._attempts[name]

    def _sentence(self, turn: int) -> str:
        return self._statements[turn % len(self._statements)]

    def _take(self, name: str, reply: Reply) -> str | None:
        """Keep what is good of an answer; return what is wrong with it, or None."""
        try:
            if name in self._rewrites:
                self._rewrites[name] = self._good_rewrite(reply)
                return None
            found, problem = read_pairs(reply.text, reply.is_cut)
        except AnswerError as error:
            return str(error)
        open_names, sentence = self._missing_pairs(), None
        if name != LIST:
            open_names, sentence = [name], self._sentence(self._turn(name))
        for pair in found:
            if open_names:
                refusal = self._keep_pair(open_names[0], pair, sentence)
                problem = problem or refusal or ""
                open_names = open_names if refusal else open_names[1:]
        if not open_names:
            return None
        if name == LIST:
            num_found = len(self._pairs) - len(open_names)
            return f"{num_found} of {len(self._pairs)} {LIST}" + (f"; {problem}" if problem else "")
        return problem

    def _keep_pair(self, name: str, found: FoundPair, sentence: str | None) -> str | None:
        """Keep a pair about a sentence or about the whole, or return why it is of no use."""
        full_answer = found.full_answer or sentence or self._sentence_with(found.answer)
        pair = QuestionAnswer(question=found.question, answer=found.answer, full_answer=full_answer)
        known = [kept for kept in self._pairs.values() if kept]
        if any(_plain(kept.question) == _plain(pair.question) for kept in known):
            return "a question that was asked before"
        if sentence and any(_plain(kept.answer) == _plain(pair.answer) for kept in known):
            return "an answer that was given before"
        if self._order.grounded and (problem := self._problem_of(pair, sentence)):
            self._usage += Usage(num_ungrounded=1)
            return problem
        self._pairs[name] = pair
        return None

    def _sentence_with(self, answer: str) -> str:
        """Return the first sentence that holds an answer, or the answer itself."""
        # No word begins or ends within another; ideographs may.
        words = rf"(?<![0-9A-Za-z]){re.escape(answer)}(?![0-9A-Za-z])"
        found = (s for s in self._statements if re.search(words, s, re.IGNORECASE))
        return next(found, answer)

    def _problem_of(self, pair: QuestionAnswer, sentence: str | None) -> str:
        problem = self._grounding.problem_of_pair(pair)
        if sentence is not None and not problem:
            problem = self._grounding.problem_of_answer(pair, sentence)
        return problem

    def _good_rewrite(self, reply: Reply) -> str:
        rewrite = read_rewrite(reply.text)
        if reply.is_cut:
            raise AnswerError("an unfinished text")
        if self._order.grounded and (problem := self._grounding.problem_of_text(rewrite)):
            self._usage += Usage(num_ungrounded=1)
            raise AnswerError(problem)
        return rewrite


def _names(kind: str, number: int) -> list[str]:
    return [f"{kind} {n}" for n in range(1, number + 1)]


def _plain(text: str) -> str:
    return re.sub(r"['\u2019]s\b", " is", text.casefold()).strip(" .?!")


def _derive_seed(*origin: object) -> int:
    """Return a seed that is always the same for one origin, and another for every other."""
    digest = hashlib.sha256("\0".join(map(str, origin)).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
