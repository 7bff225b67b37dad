"""How requests become rows, and rows answers."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from prag_lightning.adapters.bank import Route
from prag_lightning.answering.answers import (
    Answer,
    answer_with_evidence,
    answers_with_evidence,
)
from prag_lightning.answering.batches import QuestionBatch, collate
from prag_lightning.answering.generate import Answers, Listener
from prag_lightning.answering.memory import BatchRoom
from prag_lightning.answering.merging import AdapterMerger, FirstTokenEntropy, Merge
from prag_lightning.answering.open_documents import OpenDocuments
from prag_lightning.answering.questions import METHODS, MethodName, QuestionBatches
from prag_lightning.answering.requests import AnswerRequest, WaitingRow
from prag_lightning.answering.scoring import Scoring
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Question
from prag_lightning.language_model.prompts import PromptEncoder


@dataclass
class _FollowedRow:
    """A row that has its answer when the model ends it, while others of its batch go on.

    Args:
        row: The row.
        finish: Takes its text.
        tokenizer: Decodes its tokens.
    """

    row: WaitingRow
    finish: Callable[[str], None]
    tokenizer: PreTrainedTokenizerBase
    tokens: list[int] = field(default_factory=list)

    def hear(self, token: int) -> bool:
        """Take the row's next token, and return whether the row goes on."""
        self.tokens.append(token)
        return self.row.hear(token)

    def end(self) -> None:
        """Give the row its answer."""
        text = self.tokenizer.decode(self.tokens, skip_special_tokens=True)
        assert isinstance(text, str)
        self.finish(text)


@dataclass(frozen=True)
class RowAnswering:
    """Answers requests, whose rows may be of several methods and have merges of their own.

    Args:
        model: Answers a batch, with a route to adapters and a listener for each row.
        first_token_entropy: Measures the entropy of first tokens, for a rule with a gate.
        encoder: Encodes prompts as token ids.
        scoring: Extracts answers from generated texts.
        top_k: Maximum number of documents per question.
        max_tokens: Longest prompt; passages are cut to fit.
        batch_size: Maximum number of rows in a batch.
        measure_room: Measures how large batches may be; called once, before the first of
            several rows.
    """

    model: Callable[[QuestionBatch, Route | None, Sequence[Listener]], Answers]
    first_token_entropy: FirstTokenEntropy
    encoder: PromptEncoder
    scoring: Scoring
    top_k: int
    max_tokens: int
    batch_size: int
    measure_room: Callable[[], BatchRoom]
    # How many batches there were of each number of rows.
    batch_sizes: Counter[int] = field(default_factory=Counter)
    _in_use: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, requests: Sequence[AnswerRequest]) -> None:
        """Find documents for the questions of all requests together, and begin the requests."""
        groups: dict[OpenDocuments, list[AnswerRequest]] = {}
        for request in requests:
            groups.setdefault(request.documents, []).append(request)
        for opened, group in groups.items():
            asked = {
                (number, question.id): question.model_copy(update={"id": f"{number} {question.id}"})
                for number, request in enumerate(group)
                if METHODS[request.method].needs_retrieval
                for question in request.questions
            }
            found = opened.retrieve(list(asked.values()), self.top_k) if asked else {}
            for number, request in enumerate(group):
                own = {name: found[one.id] for (n, name), one in asked.items() if n == number}
                request.begin(self.batches(request.method, request.questions, own, opened))

    def batches(
        self,
        method: MethodName,
        questions: Sequence[Question],
        found: Mapping[str, list[RetrievedDocument]],
        opened: OpenDocuments,
    ) -> QuestionBatches:
        """Return questions in batches for one method.

        Args:
            method: The method.
            questions: The questions, each with a unique id.
            found: For each question the documents that were found, best first.
            opened: The documents.
        """
        return QuestionBatches(
            method,
            questions,
            found,
            opened.documents,
            [],
            self.encoder,
            self.batch_size,
            self.max_tokens,
        )

    def fit(self, rows: Sequence[WaitingRow]) -> bool:
        """Return whether rows fit into one batch."""
        return self._room.holds(rows)

    @cached_property
    def _room(self) -> BatchRoom:
        return self.measure_room()

    def answer(self, rows: Sequence[WaitingRow]) -> None:
        """Answer rows from the same documents, each as soon as its last token is known."""
        self.batch_sizes[len(rows)] += 1
        methods = dict.fromkeys(row.request.method for row in rows)
        batch = collate("+".join(methods), [row.row for row in rows])
        merger = rows[0].request.documents.merger
        with self._in_use:
            merges, route = merger.merge(
                batch, [row.merge for row in rows], self.first_token_entropy
            )
            followed = [
                _FollowedRow(
                    row,
                    partial(self._finish, row, batch, number, merges[number]),
                    self.encoder.tokenizer,
                )
                for number, row in enumerate(rows)
            ]
            texts = self.model(batch, route, followed).texts
        for one, text in zip(followed, texts, strict=True):
            if not one.row.is_answered:
                one.finish(text)

    def _finish(
        self, row: WaitingRow, batch: QuestionBatch, number: int, merge: Merge, text: str
    ) -> None:
        answer = answer_with_evidence(batch, number, merge, text, self.scoring, self._answer_mark)
        row.finish(answer.model_copy(update={"method": row.request.method}))

    @cached_property
    def _answer_mark(self) -> str | None:
        template = self.encoder.template
        return template.answer_mark if template.reasons else None

    def answer_batch(
        self, batch: QuestionBatch, merger: AdapterMerger, merges: Sequence[Merge]
    ) -> tuple[list[Answer], Tensor]:
        """Return the answers to a batch, and how likely the accepted ones are.

        Args:
            batch: The questions.
            merger: Reads the adapters.
            merges: The adapters that each row merges.

        Returns:
            An answer for each row, and the mean negative log-likelihood of each accepted answer's
            tokens, shape ``(rows,)``; NaN if there is none.
        """
        # Threads that use the model besides the answering thread take turns with it.
        with self._in_use:
            merges, route = merger.merge(batch, merges, self.first_token_entropy)
            said = self.model(batch, route, ())
        answers = answers_with_evidence(batch, merges, said.texts, self.scoring, self._answer_mark)
        return answers, said.nll
