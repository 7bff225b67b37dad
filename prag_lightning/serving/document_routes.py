"""The addresses of documents: which are encoded since when, and adding others."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from prag_lightning.answerer import Answerer
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import Document
from prag_lightning.encoding.plan import is_of_other_text
from prag_lightning.serving.additions import Addition
from prag_lightning.serving.errors import RefusalError
from prag_lightning.serving.service import Service

_LONGEST_ID, _LONGEST_TITLE = 200, 1000
_RETRY_AFTER = 10
ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")
_NonEmpty = StringConstraints(min_length=1, strip_whitespace=True)


class NewDocument(BaseModel):
    """A document to add; without an id it gets one from its text."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, _NonEmpty, Field(max_length=_LONGEST_ID)] | None = None
    title: Annotated[str, Field(max_length=_LONGEST_TITLE)] = ""
    text: Annotated[str, _NonEmpty]

    def document(self) -> Document:
        """Return it as a document of a corpus."""
        unnamed = Document(id="unnamed", title=self.title, text=self.text)
        return unnamed.model_copy(update={"id": self.id or f"text-{text_digest(unnamed)}"})


class DocumentState(BaseModel):
    """How far a document is.

    Args:
        id: Id of the document.
        title: Its title.
        state: ``waiting``, ``encoding``, ``stored`` (it is answered from), ``failed``, or
            ``not_encoded`` (it is in the corpus only).
        accepted: When it was added to the running service.
        finished: When it was stored, or failed.
        problem: Why it failed.
        progress: How much of those that are encoded together is done, from 0 to 1.
    """

    id: str
    title: str = ""
    state: Literal["waiting", "encoding", "stored", "failed", "not_encoded"]
    accepted: datetime | None = None
    finished: datetime | None = None
    problem: str | None = None
    progress: float | None = None


class DocumentStates(BaseModel):
    """The documents that were added or encoded last.

    Args:
        data: The documents, those that wait first, then the latest.
        num_stored: How many have an adapter, these and others.
    """

    object: Literal["list"] = "list"
    data: list[DocumentState]
    num_stored: int


def document_router(service: Service) -> APIRouter:
    """Return the routes of documents.

    Args:
        service: Answers from the documents.
    """
    router = APIRouter(prefix="/v1/documents")

    @router.get("")
    async def list_documents(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> DocumentStates:
        """List the documents that were added or encoded last."""
        return await _in_thread(_latest, service, limit)

    @router.post("", status_code=202)
    async def add_document(new: NewDocument, response: Response) -> DocumentState:
        """Add a document: it is on the disk when this returns, and encoded in the background."""
        state = await _in_thread(_accept, service, new.document())
        response.status_code = 200 if state.state == "stored" else 202
        return state

    @router.get("/{document_id:path}")
    async def get_document(document_id: str) -> DocumentState:
        """Return how far a document is."""
        return await _in_thread(_state, service, document_id)

    return router


async def _in_thread(
    read: Callable[[Service, ArgumentT], ResultT], service: Service, argument: ArgumentT
) -> ResultT:
    """Return what a function reads, once more if the store was exchanged for a later one."""
    store = service.answerer.store
    try:
        return await asyncio.to_thread(read, service, argument)
    except RefusalError:
        raise
    except Exception:
        if service.answerer.store is store:
            raise
        return await asyncio.to_thread(read, service, argument)


def _accept(service: Service, document: Document) -> DocumentState:
    answerer = service.answerer
    known = answerer.documents.get(document.id)
    if known is not None and text_digest(known) != text_digest(document):
        raise RefusalError(
            409,
            f"there is another document with the id '{document.id}'; give this one another id",
            param="id",
            code="id_taken",
        )
    if known is not None and (stored := _stored(answerer, known)) is not None:
        return stored
    if service.additions.num_open >= service.settings.max_documents:
        raise RefusalError(
            503,
            f"{service.additions.num_open} documents wait already; try again later",
            code="queue_full",
            retry_after=_RETRY_AFTER,
        )
    try:
        addition = service.add(document)
    except ValueError as error:
        raise RefusalError(409, str(error), param="id", code="id_taken") from error
    except OSError as error:
        raise RefusalError(
            503, f"the document cannot be kept: {error.strerror}", retry_after=_RETRY_AFTER
        ) from error
    return _of_addition(service, addition)


def _state(service: Service, document_id: str) -> DocumentState:
    answerer = service.answerer
    document = answerer.documents.get(document_id)
    addition = service.additions.find(document_id)
    if addition is not None and addition.state != "stored":
        return _of_addition(service, addition)
    if document is None:
        raise RefusalError(404, f"there is no document with the id '{document_id}'")
    stored = _stored(answerer, document)
    return stored or DocumentState(id=document_id, title=document.title, state="not_encoded")


def _stored(answerer: Answerer, document: Document) -> DocumentState | None:
    """Return the state of a document that has an adapter; None if it has none."""
    found = answerer.store.find([document.id]).get(document.id)
    if found is None or is_of_other_text(found.text_digest, document):
        return None
    return DocumentState(
        id=document.id, title=document.title, state="stored", finished=_time(found.stored)
    )


def _latest(service: Service, limit: int) -> DocumentStates:
    answerer, documents = service.answerer, service.answerer.documents
    latest = heapq.nlargest(limit, answerer.store.documents(), key=lambda found: found.stored)
    states = [
        _of_addition(service, one) for one in service.additions.all() if one.state != "stored"
    ]
    for found in latest:
        title = documents[found.id].title if found.id in documents else ""
        time = _time(found.stored)
        states.append(DocumentState(id=found.id, title=title, state="stored", finished=time))
    return DocumentStates(data=states[:limit], num_stored=len(answerer.store))


def _of_addition(service: Service, addition: Addition) -> DocumentState:
    progress = service.progress if addition.state == "encoding" else None
    return DocumentState(**addition.model_dump(), progress=progress)


def _time(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds else None
