"""The documents behind an answer, with their scores and weights."""

from collections.abc import Mapping

from prag_lightning.answering.answers import Answer
from prag_lightning.documents.records import Document
from prag_lightning.serving.chat_records import DocumentBehind


def documents_behind(answer: Answer, documents: Mapping[str, Document]) -> list[DocumentBehind]:
    """Return the documents behind an answer, best first.

    Args:
        answer: The answer.
        documents: The documents by id.
    """
    in_prompt = {evidence.document_id for evidence in answer.passages}
    weights = {evidence.document_id: evidence.weight for evidence in answer.adapters}
    missing = {evidence.document_id for evidence in answer.missing}
    found = {}
    for evidence in (*answer.passages, *answer.adapters, *answer.missing):
        document = documents.get(evidence.document_id)
        # It may have been deleted meanwhile.
        if document is None:
            continue
        name = evidence.document_id
        found[name] = DocumentBehind(
            id=name,
            title=document.title,
            text=document.text,
            score=evidence.score,
            weight=weights.get(name),
            in_prompt=name in in_prompt,
            has_adapter=True if name in weights else False if name in missing else None,
        )
    return sorted(found.values(), key=lambda document: -(document.score or 0.0))
