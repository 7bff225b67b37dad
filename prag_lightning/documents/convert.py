"""A data set of any format as JSON Lines of the toolkit's own records."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from prag_lightning.documents.formats.entries import Entry
from prag_lightning.documents.rankings import RetrievedDocument, write_run
from prag_lightning.documents.records import Augmentation, Document, Question, records_file

_RUN_FILE = "retrieved.trec"


def first_questions(entries: Iterable[Entry], limit: int) -> Iterator[Entry]:
    """Yield the entries of the first ``limit`` questions of each type, and those of a corpus.

    The published experiments take the first 300 of each type and the first 300 of all. The latter
    are among the former, and since the order stays they are the first 300 that are yielded.
    """
    num_questions: Counter[str | None] = Counter()
    for entry in entries:
        if entry.question:
            num_questions[entry.question.type] += 1
            if num_questions[entry.question.type] > limit:
                continue
        yield entry


def write_entries(entries: Iterable[Entry], output_dir: Path) -> Counter[str]:
    """Write documents, questions and augmentations into files by these names, as they come.

    What was retrieved for the questions becomes a run file, ``retrieved.trec``. A document that
    several questions bring is written once; those of a corpus are not remembered, for it may be of
    any size. Empty documents are left out.

    Returns:
        How many there were of each.

    Raises:
        ValueError: If there is no entry.
    """
    with ExitStack() as files:
        output = _Output(output_dir, files)
        for entry in entries:
            output.add(entry)
    if not output.counts:
        raise ValueError("there is nothing to convert: no document and no question")
    if output.rankings:
        write_run(output_dir / _RUN_FILE, output.rankings, tag="published")
    return output.counts


class _Output:
    """The files of one conversion; each is opened when there is something to write into it."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self.counts: Counter[str] = Counter()
        self.rankings: list[tuple[str, list[RetrievedDocument]]] = []
        self._folder = folder
        self._files = files
        self._write: dict[str, Callable[[Document | Question | Augmentation], None]] = {}
        self._known: set[tuple[str, str]] = set()

    def add(self, entry: Entry) -> None:
        """Write what is new of an entry."""
        for document in entry.documents:
            if entry.question is None or self._is_new("documents", document.id):
                self._add_document(document)
        for augmentation in entry.augmentations:
            if self._is_new("augmentations", augmentation.document_id):
                self._add("augmentations", augmentation)
        if entry.question:
            self._add("questions", entry.question)
        if entry.question and entry.retrieved:
            ranking = [
                RetrievedDocument(one, 1 / rank) for rank, one in enumerate(entry.retrieved, 1)
            ]
            self.rankings.append((entry.question.id, ranking))

    def _is_new(self, kind: str, document_id: str) -> bool:
        is_new = (kind, document_id) not in self._known
        self._known.add((kind, document_id))
        return is_new

    def _add_document(self, document: Document) -> None:
        if document.text.strip():
            self._add("documents", document)
        else:
            self.counts["empty documents left out"] += 1

    def _add(self, kind: str, record: Document | Question | Augmentation) -> None:
        if kind not in self._write:
            file = records_file(self._folder / f"{kind}.jsonl")
            self._write[kind] = self._files.enter_context(file)
        self._write[kind](record)
        self.counts[kind] += 1
