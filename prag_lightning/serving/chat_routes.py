"""The addresses of OpenAI's interface: the models, and the answers."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Any, TypeVar, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Send

from prag_lightning.serving.chat_answer import ChatAnswer
from prag_lightning.serving.chat_question import MODELS, read_question, require_model
from prag_lightning.serving.chat_records import ChatChunk, ChatCompletion, ChatRequest, ModelName
from prag_lightning.serving.errors import RefusalError, refusal_of
from prag_lightning.serving.service import Service

_WORDS: dict[ModelName, str] = {
    "prag": "the adapters of the documents found, merged",
    "combine": "the documents found in the prompt, and their adapters",
    "rag": "the documents found in the prompt",
    "closed_book": "the model alone",
}
_DONE = "data: [DONE]\n\n"
ResultT = TypeVar("ResultT")


class Model(BaseModel):
    """A method that answers."""

    id: ModelName
    object: str = "model"
    created: int
    owned_by: str = "prag-lightning"
    description: str


class Models(BaseModel):
    """All methods that answer."""

    object: str = "list"
    data: list[Model]


def chat_router(service: Service) -> APIRouter:
    """Return the routes of OpenAI's interface.

    Args:
        service: Answers the questions.
    """
    router = APIRouter(prefix="/v1")
    started = int(time.time())

    def model(name: ModelName) -> Model:
        return Model(id=name, created=started, description=_WORDS[name])

    @router.get("/models")
    async def list_models() -> Models:
        """List the methods; each is a model by this name."""
        return Models(data=[model(name) for name in MODELS])

    @router.get("/models/{name}")
    async def get_model(name: str) -> Model:
        """Return one method."""
        return model(require_model(name))

    @router.post(
        "/chat/completions",
        response_model=ChatCompletion,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def complete(request: Request, asked: ChatRequest) -> Response:
        """Answer the last message, as a whole or as a stream of server-sent events."""
        question = read_question(asked, service.settings.max_question_characters)
        answer = ChatAnswer(service, question)
        if not asked.stream:
            whole = await _unless_given_up(request, answer.whole())
            return Response(whole.model_dump_json(), media_type="application/json")
        has_usage = asked.stream_options is not None and asked.stream_options.include_usage
        chunks = answer.chunks(has_usage)
        # What is refused has its own status, which cannot follow the first event.
        first = await _unless_given_up(request, anext(chunks))
        # Proxies would keep the events until the last one.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return _EventStream(_events(first, chunks), headers=headers)

    return router


async def _events(
    first: ChatChunk, chunks: AsyncGenerator[ChatChunk, None]
) -> AsyncGenerator[str, None]:
    """Yield server-sent events; closing it gives the answer up."""
    async with aclosing(chunks):
        yield _event(_fields(first))
        try:
            async for chunk in chunks:
                yield _event(_fields(chunk))
        except Exception as error:
            yield _event(refusal_of(error).body())
            return
    yield _DONE


def _event(fields: dict[str, Any]) -> str:
    return f"data: {json.dumps(fields)}\n\n"


def _fields(chunk: ChatChunk) -> dict[str, Any]:
    fields = _without_none(chunk.model_dump())
    for choice in fields["choices"]:
        choice["delta"] = _without_none(choice["delta"])
    return fields


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


class _EventStream(StreamingResponse):
    """A stream of events that is closed when the client goes."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """Send the events."""
        async with aclosing(cast("AsyncGenerator[str, None]", self.body_iterator)):
            await super().stream_response(send)


async def _unless_given_up(request: Request, answer: Awaitable[ResultT]) -> ResultT:
    """Return an answer, and stop waiting for it if the client goes.

    Raises:
        RefusalError: If it went; nobody reads that.
    """
    task = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RefusalError(499, "the client closed the connection")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
