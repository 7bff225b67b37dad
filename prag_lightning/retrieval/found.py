"""What a retriever finds for questions, as a folder of its own that can be encoded."""

from collections.abc import Iterable
from pathlib import Path

from prag_lightning.documents.rankings import write_run
from prag_lightning.documents.records import (
    Document,
    Question,
    read_unique,
    write_records,
)
from prag_lightning.retrieval.base import Retriever


def write_found(
    questions_file: Path,
    corpus: Iterable[Document],
    retriever: Retriever,
    output_dir: Path,
    top_k: int,
) -> tuple[int, int]:
    """Write ``questions``, the ``documents`` found for them, and the ranking, ``retrieved.trec``.

    Returns:
        How many questions and documents there are.

    Raises:
        ValueError: If nothing is found for a question; names it.
    """
    questions = read_unique(questions_file, Question)
    found = retriever.retrieve(questions, top_k)
    for question, ranking in zip(questions, found, strict=True):
        if not ranking:
            raise ValueError(
                f"{questions_file}: nothing is found for question '{question.id}' "
                f"({question.question!r}); take it out, or search another corpus"
            )
    wanted = {document.document_id for ranking in found for document in ranking}
    documents = (document for document in corpus if document.id in wanted)
    num_documents = write_records(output_dir / "documents.jsonl", documents)
    write_records(output_dir / "questions.jsonl", questions)
    rankings = zip((question.id for question in questions), found, strict=True)
    write_run(output_dir / "retrieved.trec", rankings, tag="found")
    return len(questions), num_documents
