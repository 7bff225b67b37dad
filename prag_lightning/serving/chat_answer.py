"""Puts an answer into the form of OpenAI's chat completions, whole or piece by piece."""

import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from prag_lightning.answering.answers import Answer
from prag_lightning.serving.chat_question import ChatQuestion
from prag_lightning.serving.chat_records import (
    AnswerMessage,
    ChatChunk,
    ChatCompletion,
    Choice,
    ChunkChoice,
    Delta,
    FinishReason,
    PragResult,
    Usage,
)
from prag_lightning.serving.chat_text import ChatText
from prag_lightning.serving.evidence import documents_behind
from prag_lightning.serving.service import Service


class ChatAnswer:
    """One answer, on its way to a client.

    Args:
        service: Answers the question.
        question: The question.
    """

    def __init__(self, service: Service, question: ChatQuestion) -> None:
        self._service = service
        self._question = question
        self._encoder = service.answerer.data.encoder
        self._text = ChatText(self._encoder, question.max_tokens)
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._answer: Answer | None = None
        self._has_begun = False

    async def whole(self) -> ChatCompletion:
        """Return the whole answer."""
        self._answer = await self._service.answer(self._question)
        self._text.add(self._answer.text)
        message = AnswerMessage(content=self._text.text)
        return ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._question.method,
            choices=[Choice(message=message, finish_reason=self._finish_reason)],
            usage=self._usage,
            prag=self._result,
        )

    async def chunks(self, include_usage: bool) -> AsyncGenerator[ChatChunk, None]:
        """Yield the answer piece by piece; the last piece says how it came about.

        Args:
            include_usage: Whether a chunk of token counts follows.

        Yields:
            The chunks.
        """
        async with aclosing(self._service.pieces(self._question)) as pieces:
            async for piece in pieces:
                if not self._has_begun:
                    self._has_begun = True
                    yield self._chunk(Delta(role="assistant", content=""))
                if isinstance(piece, Answer):
                    self._answer = piece
                elif said := self._text.add(piece):
                    yield self._chunk(Delta(content=said))
        last = self._chunk(Delta(), self._finish_reason)
        last.prag = self._result
        yield last
        if include_usage:
            last = self._chunk(Delta())
            last.choices, last.usage = [], self._usage
            yield last

    def _chunk(self, delta: Delta, finish_reason: FinishReason | None = None) -> ChatChunk:
        return ChatChunk(
            id=self._id,
            created=self._created,
            model=self._question.method,
            choices=[ChunkChoice(delta=delta, finish_reason=finish_reason)],
        )

    @property
    def _whole_answer(self) -> Answer:
        assert self._answer is not None
        return self._answer

    @property
    def _finish_reason(self) -> FinishReason:
        longest = self._service.answerer.module.max_new_tokens
        is_cut = self._text.is_cut or self._text.num_tokens >= longest
        return "length" if is_cut else "stop"

    @property
    def _usage(self) -> Usage:
        answerer, answer = self._service.answerer, self._whole_answer
        texts = [answerer.documents[e.document_id].text for e in answer.passages]
        prompt = self._encoder.encode_generation(
            self._question.text, texts, answerer.data.max_tokens
        )
        counts = len(prompt), self._text.num_tokens
        return Usage(prompt_tokens=counts[0], completion_tokens=counts[1], total_tokens=sum(counts))

    @property
    def _result(self) -> PragResult:
        return PragResult(
            method=self._question.method,
            prediction=self._whole_answer.prediction,
            documents=documents_behind(self._whole_answer, self._service.answerer.documents),
            notes=self._question.notes,
        )
