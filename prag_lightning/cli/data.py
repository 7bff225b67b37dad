"""The command ``prag data``: bring data sets into the toolkit's form, and pick from a corpus."""

from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import PositiveInt

FormatName = Literal[
    "2wikimultihopqa",
    "beir",
    "complexwebquestions",
    "dpr",
    "flashrag",
    "hotpotqa",
    "jsonl",
    "popqa",
    "published",
    "squad",
    "text",
]


def convert(
    format: FormatName, source: Path, output_dir: Path, limit: PositiveInt | None = None
) -> None:
    """Write a data set as documents.jsonl, questions.jsonl and augmentations.jsonl.

    Args:
        format: What the source is; docs/datasets.md says more of each.
        source: File or folder to read.
        output_dir: Folder to write into.
        limit: Take the first so many questions, of each type where there are types. The whole
            source is taken without it.
    """
    from prag_lightning.cli.counting import counted
    from prag_lightning.documents.convert import first_questions, write_entries
    from prag_lightning.documents.formats import FORMATS

    entries = FORMATS[format](source)
    if limit is not None:
        entries = first_questions(entries, limit)
    counts = write_entries(counted(entries, "entries"), output_dir)
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{output_dir}: {listed}")


def retrieve(
    questions: Path, corpus: Path, index_dir: Path, output_dir: Path, top_k: PositiveInt = 3
) -> None:
    """Write the documents that are found for questions as a folder to encode and to answer from.

    Beside documents.jsonl and questions.jsonl it holds retrieved.trec, the ranking, from which
    prag_lightning.retrieval.run_file.RunFileRetriever finds them again.

    Args:
        questions: JSON Lines of questions.
        corpus: JSON Lines of documents.
        index_dir: Its index, as `prag index bm25` wrote it.
        output_dir: Folder to write into.
        top_k: How many documents are retrieved for a question.
    """
    from prag_lightning.cli.counting import counted
    from prag_lightning.documents.records import Document, read_records
    from prag_lightning.retrieval.bm25 import BM25Retriever
    from prag_lightning.retrieval.found import write_found

    retriever = BM25Retriever(index_dir, corpus)
    documents = counted(read_records(corpus, Document), "documents")
    counts = write_found(questions, documents, retriever, output_dir, top_k)
    print(f"{output_dir}: {counts[0]} questions, {counts[1]} documents")


DATA_COMMANDS: dict[str, Any] = {"convert": convert, "retrieve": retrieve}
