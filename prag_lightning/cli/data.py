"""The command ``prag data``: convert data sets, and retrieve documents from a corpus."""

from pathlib import Path
from typing import Any, Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt


def convert(
    format: str,
    source: Path,
    output_dir: Path,
    limit: PositiveInt | None = None,
    seed: NonNegativeInt | None = None,
    passage_words: PositiveInt | None = None,
    overlap_words: NonNegativeInt | None = None,
    on_error: Literal["stop", "skip"] | None = None,
) -> None:
    """Write a data set as documents.jsonl, questions.jsonl and augmentations.jsonl.

    Files of an earlier conversion in the folder are replaced; other files are never replaced.

    Args:
        format: What the source is: 2wikimultihopqa, beir, complexwebquestions, dpr, flashrag,
            hotpotqa, jsonl, popqa, published, squad, text (see docs/datasets.md), or the import
            path of a reader of your own, such as my_formats.read_csv.
        source: File or folder to read.
        output_dir: Folder to write into.
        limit: Take only the first questions, this many of each type if there are types; for dpr,
            jsonl and text, this many documents. By default, the whole source is taken.
        seed: Draw the --limit at random instead of taking the first, with this seed.
        passage_words: Split text and jsonl into passages of about this many words (default: 100).
            In scripts without spaces between words, a letter counts as a word.
        overlap_words: Begin each passage with this many words of the previous one (default: 0).
        on_error: How to treat text files that cannot be read: stop, the default, writes nothing and
            names them all; skip names them and goes on.
    """
    from prag_lightning.cli.counting import counted
    from prag_lightning.documents.convert import write_entries
    from prag_lightning.documents.formats import CORPORA
    from prag_lightning.documents.formats.finding import find_reader
    from prag_lightning.documents.slices import take_slice

    if seed is not None and limit is None:
        raise ValueError("--seed draws what --limit takes; give that, too")
    given = {"passage_words": passage_words, "overlap_words": overlap_words, "on_error": on_error}
    settings = {name: value for name, value in given.items() if value is not None}
    entries = find_reader(format, settings)(source)
    if limit is not None:
        entries = take_slice(entries, limit, seed, of_documents=format in CORPORA)
    origin = {"format": format, "source": str(source), "limit": limit, "seed": seed, **settings}
    written = write_entries(counted(entries, "entries"), output_dir, origin)
    listed = ", ".join(f"{count} {name}" for name, count in written.counts.items())
    print(f"{output_dir}: {listed}")
    for note in written.notes:
        print(f"{output_dir}: {note}")
    if limit is not None and format not in CORPORA and not written.counts["questions"]:
        print(f"{output_dir}: all documents were taken, for --limit counts questions")


def retrieve(
    questions: Path, corpus: Path, index_dir: Path, output_dir: Path, top_k: PositiveInt = 3
) -> None:
    """Retrieve documents for questions, and write them as a folder for encoding and answering.

    Files of an earlier run in the folder are replaced; other files are never replaced.

    Beside documents.jsonl and questions.jsonl, the folder holds the ranking, retrieved.trec, which
    prag_lightning.retrieval.run_file.RunFileRetriever reads.

    Args:
        questions: JSON Lines of questions.
        corpus: JSON Lines of documents.
        index_dir: Its index, as `prag index bm25` wrote it.
        output_dir: Folder to write into.
        top_k: How many documents are retrieved for a question.
    """
    from prag_lightning.cli.counting import counted
    from prag_lightning.documents.output_folder import OutputFolder
    from prag_lightning.documents.records import Document, read_records
    from prag_lightning.retrieval.bm25 import BM25Retriever
    from prag_lightning.retrieval.found import write_found

    retriever = BM25Retriever(index_dir, corpus)
    documents = counted(read_records(corpus, Document), "documents")
    origin = {"questions": str(questions), "corpus": str(corpus), "top_k": top_k}
    with OutputFolder(output_dir, origin) as folder:
        for name in ("documents.jsonl", "questions.jsonl", "retrieved.trec"):
            staging = folder.path_of(name).parent
        counts = write_found(questions, documents, retriever, staging, top_k)
    print(f"{output_dir}: {counts[0]} questions, {counts[1]} documents")
    for note in folder.notes:
        print(f"{output_dir}: {note}")


DATA_COMMANDS: dict[str, Any] = {"convert": convert, "retrieve": retrieve}
