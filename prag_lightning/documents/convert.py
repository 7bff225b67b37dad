"""Conversion of a data set of any format to JSON Lines of the toolkit's own records."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from prag_lightning.documents.entries import Entry
from prag_lightning.documents.output_folder import OutputFolder
from prag_lightning.documents.rankings import RetrievedDocument, write_run
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    Question,
    read_records,
    records_file,
)

_RUN_FILE = "retrieved.trec"


@dataclass(frozen=True)
class Conversion:
    """Summary of a conversion.

    Args:
        counts: Number of records of each kind, and of those left out.
        notes: What happened to the files of an earlier conversion, one sentence each.
    """

    counts: Counter[str]
    notes: list[str]


def write_entries(
    entries: Iterable[Entry],
    output_dir: Path,
    origin: Mapping[str, object] = MappingProxyType({}),
) -> Conversion:
    """Write documents, questions and augmentations to JSON Lines files of these names.

    The documents retrieved for the questions are written to a run file, ``retrieved.trec``. A
    document that comes with several questions is written once; documents of a corpus, which may be
    of any size, are not deduplicated. Empty documents are left out, and so are gold documents that
    are empty or missing. The files replace those of an earlier conversion together, and only if
    there was no error.

    Args:
        entries: The data set, as a reader yields it.
        output_dir: Folder for the files.
        origin: Origin of the data set, recorded in ``origin.json``.

    Returns:
        A summary of what was written.

    Raises:
        ValueError: If there is no entry, if two questions or two documents share an id, or if the
            folder contains files of the same names that no conversion wrote.
        OSError: If the files cannot be written, as on a full disk.
    """
    with OutputFolder(output_dir, origin) as folder:
        output = _Output(folder)
        output.add_all(entries)
        output.write_questions()
    return Conversion(output.counts, folder.notes)


class _Output:
    """The files of one conversion, each opened when its first record is written."""

    def __init__(self, folder: OutputFolder) -> None:
        self.counts: Counter[str] = Counter()
        self._folder = folder
        self._files = ExitStack()
        self._write: dict[str, Callable[[Document | Augmentation], None]] = {}
        self._questions: dict[str, Question] = {}
        self._retrieved: dict[str, tuple[str, ...]] = {}
        # Hashes of records that came with questions, to skip repetitions.
        self._known: dict[tuple[str, str], int] = {}
        # Ids that questions refer to, and the remembered ids of documents with a text.
        self._named: set[str] = set()
        self._present: set[str] = set()
        self._forgot = False

    def add_all(self, entries: Iterable[Entry]) -> None:
        """Write documents and augmentations immediately, and hold back questions until the end."""
        with self._files:
            for entry in entries:
                if entry.question:
                    self._add_question(entry.question, entry.retrieved)
                for document in entry.documents:
                    if entry.question is None:
                        self._add_document(document, remember=document.id in self._named)
                    elif self._is_new("document", document.id, document):
                        self._add_document(document, remember=True)
                for augmentation in entry.augmentations:
                    if self._is_new("augmentation", augmentation.document_id):
                        self._add("augmentations", augmentation)

    def _add_question(self, question: Question, retrieved: tuple[str, ...]) -> None:
        known = self._questions.setdefault(question.id, question)
        if known != question:
            raise ValueError(f"two different questions have the id '{question.id}'; change one")
        self._named.update(question.document_ids, retrieved)
        if retrieved:
            self._retrieved[question.id] = retrieved

    def _is_new(self, kind: str, document_id: str, document: Document | None = None) -> bool:
        is_new = (kind, document_id) not in self._known
        content = hash(document)
        if self._known.setdefault((kind, document_id), content) != content:
            raise ValueError(f"two different documents have the id '{document_id}'; change one")
        return is_new

    def _add_document(self, document: Document, remember: bool) -> None:
        if not document.text.strip():
            self.counts["empty documents left out"] += 1
            return
        self._add("documents", document)
        if remember:
            self._present.add(document.id)
        else:
            self._forgot = True

    def _add(self, kind: str, record: Document | Augmentation) -> None:
        if kind not in self._write:
            file = records_file(self._folder.path_of(f"{kind}.jsonl"))
            self._write[kind] = self._files.enter_context(file)
        self._write[kind](record)
        self.counts[kind] += 1

    def write_questions(self) -> None:
        """Write the questions, without missing gold documents, and the run file."""
        if not self.counts and not self._questions:
            raise ValueError("there is nothing to convert: no document and no question")
        absent = self._find_absent()
        if self._questions:
            with records_file(self._folder.path_of("questions.jsonl")) as write:
                for question in self._questions.values():
                    write(self._without(absent, question))
                    self.counts["questions"] += 1
        if self._retrieved:
            write_run(self._folder.path_of(_RUN_FILE), self._rankings(absent), tag="published")

    def _find_absent(self) -> set[str]:
        """Return the ids that questions refer to but that no document with a text has."""
        absent = self._named - self._present
        if not self.counts["documents"]:
            # The documents come from another data set, so their ids cannot be checked.
            return set()
        if absent and self._forgot:
            documents = read_records(self._folder.path_of("documents.jsonl"), Document)
            absent.difference_update(document.id for document in documents)
        return absent

    def _without(self, absent: set[str], question: Question) -> Question:
        gold = [document_id for document_id in question.document_ids if document_id not in absent]
        if num_absent := len(question.document_ids) - len(gold):
            self.counts["gold documents left out, empty or not there"] += num_absent
        return question.model_copy(update={"document_ids": gold})

    def _rankings(self, absent: set[str]) -> Iterator[tuple[str, list[RetrievedDocument]]]:
        for question_id, retrieved in self._retrieved.items():
            present = [one for one in retrieved if one not in absent]
            yield (
                question_id,
                [RetrievedDocument(one, 1 / rank) for rank, one in enumerate(present, start=1)],
            )
