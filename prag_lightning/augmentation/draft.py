"""The draft of one document's augmentation: its open requests and the parts made so far."""

import re
from collections import Counter

from prag_lightning.augmentation.answers import AnswerError, read_few_words
from prag_lightning.augmentation.checking import PartCheck
from prag_lightning.augmentation.open_questions import CHECK, OPEN, OpenQuestions
from prag_lightning.augmentation.outcomes import Failure, Outcome, Usage
from prag_lightning.augmentation.pairs import FoundPair, read_pairs
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.settings import NUMBERS_OF_TEXTS, Order
from prag_lightning.augmentation.wording import LIST, Wording
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import Augmentation, Document, QuestionAnswer

# After this many answers without a list, a model is asked for one pair at a time.
_LIST_ATTEMPTS = 2


class Draft:
    """Requests the parts of a document's augmentation, and repeats requests with useless answers.

    Args:
        document: The document to augment.
        order: What to make of it.
        earlier: The previous attempt, of which parts were kept.
    """

    def __init__(self, document: Document, order: Order, earlier: Failure | None = None) -> None:
        self.document_id = document.id
        self._document = document
        self._order = order
        self._check = PartCheck(document, order.grounded)
        self._wording = Wording(document, order)
        self._texts: dict[str, str | None] = {}
        for kind, number in NUMBERS_OF_TEXTS.items():
            self._texts.update(dict.fromkeys(_names(kind, getattr(order, number))))
        # Questions of another augmentation, to be answered; None if pairs are requested.
        self._given = order.given_pairs(document.id)
        num_pairs = order.num_qas if self._given is None else len(self._given)
        self._pairs: dict[str, QuestionAnswer | None] = dict.fromkeys(_names("pair", num_pairs))
        self._open = OpenQuestions(order.num_unanswerable)
        if earlier is not None and earlier.kept is not None:
            texts = (name for name in self._texts if name not in earlier.missing)
            pairs = (name for name in self._pairs if name not in earlier.missing)
            self._texts.update(zip(texts, earlier.kept.rewrites, strict=False))
            self._pairs.update(zip(pairs, earlier.kept.qas, strict=False))
            self._open.restore(earlier.kept.unanswerable, earlier.missing)
        # Pairs whose answers were requested separately, or need not be.
        self._answered = {name for name, pair in self._pairs.items() if pair}
        given = dict(zip(self._pairs, self._given or (), strict=False))
        self._pairs.update({n: pair for n, pair in given.items() if n not in self._answered})
        self._attempts: Counter[str] = Counter()
        self._unanswerable: set[str] = set()
        # The last problem with each part, and the answer that had it.
        self._problems: dict[str, tuple[str, str]] = {}
        self._usage = Usage()

    @property
    def requests(self) -> list[Request]:
        """The open requests; empty once all parts are there or the attempts are used up."""
        return [self._request(name) for name in self._open_names()]

    @property
    def num_open(self) -> int:
        """Number of open requests."""
        return len(self._open_names())

    def accept(self, request: Request, reply: Reply) -> str | None:
        """Take in an answer, or schedule the request to be repeated.

        Args:
            request: One of `requests`.
            reply: The answer.

        Returns:
            Why the answer is useless or incomplete; None if it is good.
        """
        name = request.name
        self._usage += reply.usage
        problem = self._take(name, reply)
        self._attempts[name] += 1
        if problem is None:
            return None
        self._usage += Usage(num_refused=1)
        if reply.is_cut:
            problem += f" (cut after {reply.usage.num_new_tokens} tokens)"
        part = name.replace("answer", "pair").replace(CHECK, OPEN)
        self._problems[part] = problem, reply.text
        if reply.problem is not None:
            self._unanswerable.add(name)
        return problem

    @property
    def outcome(self) -> Outcome:
        """The outcome for the document, once there are no more requests."""
        assert not self.num_open
        digest = text_digest(self._document)
        rewrites = [text for text in self._texts.values() if text]
        qas = [pair for pair in self._pairs.values() if pair]
        made = Augmentation(
            document_id=self._document.id,
            rewrites=rewrites,
            qas=qas,
            unanswerable=self._open.kept,
            text_digest=digest,
        )
        failure = None
        if missing := [*self._missing_pairs(), *self._missing_texts(), *self._open.missing]:
            failure = self._failure(missing, digest)
        elif self._given == [] and not rewrites and not self._open.kept:
            reason = f"{self._order.questions} has no questions about it"
            failure = Failure(document_id=self._document.id, reason=reason, text_digest=digest)
        has_any = rewrites or qas or self._open.kept
        dropped = tuple(self._check.dropped)
        usage = self._usage + Usage(num_ungrounded=len(dropped))
        return Outcome(self._document.id, made if has_any else None, failure, usage, dropped)

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
            missing=tuple(missing),
            text_digest=digest,
        )

    def _open_names(self) -> list[str]:
        if not self._document.text.strip():
            return []
        pairs = self._missing_pairs() if self._given is None else []
        if pairs and self._order.pairs == "list" and self._is_open(LIST):
            pairs = [LIST]
        unanswered = (n for n, pair in self._pairs.items() if pair and n not in self._answered)
        answers = [name.replace("pair", "answer") for name in unanswered]
        asked = [*pairs, *self._missing_texts(), *self._open.to_ask]
        return [*answers, *self._open.to_check, *filter(self._is_open, asked)]

    def _is_open(self, name: str) -> bool:
        most = self._order.max_attempts
        if name == LIST:
            most = min(_LIST_ATTEMPTS, most)
        return name not in self._unanswerable and self._attempts[name] < most

    def _missing_pairs(self) -> list[str]:
        return [name for name, pair in self._pairs.items() if pair is None]

    def _missing_texts(self) -> list[str]:
        return [name for name, text in self._texts.items() if text is None]

    def _request(self, name: str) -> Request:
        pair = self._pairs.get(name.replace("answer", "pair"))
        question = pair.question if pair else self._open.question(name)
        return self._wording.request(name, self._attempts[name], question)

    def _take(self, name: str, reply: Reply) -> str | None:
        """Keep the good parts of an answer; return what is wrong with it, or None."""
        try:
            if name.startswith("answer"):
                return self._take_answer(name.replace("answer", "pair"), reply)
            if name.startswith(CHECK):
                self._open.check(name, reply)
                return None
            if reply.problem is not None:
                return reply.problem
            if name in self._texts:
                self._texts[name] = self._check.good_text(name, reply)
                return None
            if name.startswith(OPEN):
                return self._take_question(name, reply)
            return self._take_pairs(name, reply)
        except AnswerError as error:
            return str(error)

    def _take_pairs(self, name: str, reply: Reply) -> str | None:
        found, problem = read_pairs(reply.text, reply.is_cut)
        open_names, sentence = self._missing_pairs(), None
        if name != LIST:
            open_names, sentence = [name], self._wording.sentence(name, self._attempts[name])
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
        """Keep a pair about a sentence or the whole text, or return why it cannot be used."""
        full_answer = found.full_answer or sentence or self._wording.sentence_with(found.answer)
        pair = QuestionAnswer(question=found.question, answer=found.answer, full_answer=full_answer)
        known = [kept for kept in self._pairs.values() if kept]
        if any(_plain(kept.question) == _plain(pair.question) for kept in known):
            return "a question that was asked before"
        if sentence and any(_plain(kept.answer) == _plain(pair.answer) for kept in known):
            return "an answer that was given before"
        if problem := self._check.problem_of_pair(name, pair, sentence):
            return problem
        self._pairs[name] = pair
        if self._order.answers == "with_questions":
            self._answered.add(name)
        return None

    def _take_answer(self, name: str, reply: Reply) -> str | None:
        """Replace a question's answer by the one requested separately, or drop the question."""
        pair = self._pairs[name]
        assert pair is not None
        self._pairs[name] = None
        if self._given is not None:
            # There is no other question to ask.
            self._attempts[name] = self._order.max_attempts
        if reply.problem is not None:
            return reply.problem
        answer = read_few_words(reply.text)
        full_answer = self._wording.sentence_with(answer)
        made = QuestionAnswer(question=pair.question, answer=answer, full_answer=full_answer)
        if problem := self._check.problem_of_pair(name, made):
            return problem
        self._pairs[name] = made
        self._answered.add(name)
        return None

    def _take_question(self, name: str, reply: Reply) -> str | None:
        asked = [pair.question for pair in self._pairs.values() if pair]
        question = self._open.read(reply, asked)
        if problem := self._check.problem_of_question(name, question):
            return problem
        self._open.find(name, question)
        return None


def _names(kind: str, number: int) -> list[str]:
    return [f"{kind} {n}" for n in range(1, number + 1)]


def _plain(text: str) -> str:
    return re.sub(r"['\u2019]s\b", " is", text.casefold()).strip(" .?!")
