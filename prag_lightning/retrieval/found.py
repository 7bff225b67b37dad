"""Writing the documents found for questions to a folder, for encoding and answering."""

from collections.abc import Iterable
from pathlib import Path

from prag_lightning.documents.rankings import write_run
from prag_lightning.documents.records import Document, Question, read_unique, write_records
from prag_lightning.retrieval.base import Retriever, retrieve_by_question


def write_found(
    questions_file: Path,
    corpus: Iterable[Document],
    retriever: Retriever,
    output_dir: Path,
    top_k: int,
) -> tuple[int, int]:
    """Write the questions, the documents found for them, and the rankings (``retrieved.trec``).

    Args:
        questions_file: JSON Lines of the questions.
        corpus: All documents, including those to be found.
        retriever: The retriever.
        output_dir: The output folder.
        top_k: Maximum number of documents per question.

    Returns:
        The number of questions and the number of documents.

    Raises:
        ValueError: If nothing is found for a question; the message names it.
        OSError: If a file cannot be written.
    """
    questions = read_unique(questions_file, Question)
    found = retrieve_by_question(retriever, questions, top_k)
    for question in questions:
        if not found[question.id]:
            raise ValueError(
                f"{questions_file}: nothing is found for question '{question.id}' "
                f"({question.question!r}); take it out, or search another corpus"
            )
    wanted = {document.document_id for ranking in found.values() for document in ranking}
    documents = (document for document in corpus if document.id in wanted)
    num_documents = write_records(output_dir / "documents.jsonl", documents)
    write_records(output_dir / "questions.jsonl", questions)
    write_run(output_dir / "retrieved.trec", found.items(), tag="found", top_k=top_k)
    return len(questions), num_documents
