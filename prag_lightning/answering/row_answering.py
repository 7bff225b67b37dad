"""How requests become rows, and rows answers."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from prag_lightning.adapters.bank import Route
from prag_lightning.answering.answers import Answer, answers_with_evidence
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

    def answer(self, rows: Sequence[WaitingRow]) -> list[Answer]:
        """Return the answers to rows that are answered from the same documents."""
        self.batch_sizes[len(rows)] += 1
        methods = [row.request.method for row in rows]
        batch = collate("+".join(dict.fromkeys(methods)), [row.row for row in rows])
        merger = rows[0].request.documents.merger
        listeners = [row.hear for row in rows]
        answers, _ = self.answer_batch(batch, merger, [row.merge for row in rows], listeners)
        return [
            answer.model_copy(update={"method": method})
            for answer, method in zip(answers, methods, strict=True)
        ]

    def answer_batch(
        self,
        batch: QuestionBatch,
        merger: AdapterMerger,
        merges: Sequence[Merge],
        listeners: Sequence[Listener] = (),
    ) -> tuple[list[Answer], Tensor]:
        """Return the answers to a batch, and how likely the accepted ones are.

        Args:
            batch: The questions.
            merger: Reads the adapters.
            merges: The adapters that each row merges.
            listeners: Followers of the generated tokens, one for each row, or none.

        Returns:
            An answer for each row, and the mean negative log-likelihood of each accepted answer's
            tokens, shape ``(rows,)``; NaN if there is none.
        """
        # Threads that use the model besides the answering thread take turns with it.
        with self._in_use:
            merges, route = merger.merge(batch, merges, self.first_token_entropy)
            said = self.model(batch, route, listeners)
        template = self.encoder.template
        mark = template.answer_mark if template.reasons else None
        return answers_with_evidence(batch, merges, said.texts, self.scoring, mark), said.nll
