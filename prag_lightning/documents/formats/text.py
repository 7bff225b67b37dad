"""Folders of notes, pages and papers, or a single such file, split into passages."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prag_lightning.documents.entries import Entry, existing
from prag_lightning.documents.formats.file_texts import KINDS, missing_libraries, read_file_text
from prag_lightning.documents.passages import PASSAGE_WORDS, split_document
from prag_lightning.documents.records import Document, compose

OnError = Literal["stop", "skip"]
_EXPECTED = f"a folder of {', '.join(KINDS)} files, or one such file"
_NUM_NAMED = 10


@dataclass(frozen=True)
class TextFiles:
    """Reads all text, Markdown, HTML, PDF and Word files of a folder, recursively.

    A document's id is the file's path relative to the folder. Its title is the one in the file
    (front matter, first heading or HTML title), or else the file name. Hidden files and folders are
    skipped, and so are symbolic links, which may lead out of the folder. A summary of the files
    that were read and skipped is printed at the end, by kind.

    Args:
        passage_words: Approximate number of words per passage; longer documents are split.
        overlap_words: Maximum number of words by which consecutive passages overlap.
        on_error: What to do with unreadable files: ``stop`` ends the conversion and lists them all,
            ``skip`` lists them and continues.
    """

    passage_words: int = PASSAGE_WORDS
    overlap_words: int = 0
    on_error: OnError = "stop"

    def __call__(self, source: Path) -> Iterator[Entry]:
        """Yield the passages of each file.

        Args:
            source: The folder, or a single file.

        Yields:
            An entry for each file.

        Raises:
            FileNotFoundError: If there is no such folder or file, or no file of these kinds in it.
            ValueError: If files cannot be read and ``on_error`` is ``stop``; the message lists
                them.
        """
        account = _Account(existing(source, _EXPECTED))
        for file in account.list_files():
            document = account.read(file)
            if document is not None:
                passages = split_document(document, self.passage_words, self.overlap_words)
                yield Entry(documents=tuple(passages))
        account.close(self.on_error)


class _Account:
    """The files of a folder that were read, were skipped, or cannot be read."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._read: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._guessed: list[str] = []
        self._faults: list[str] = []

    def list_files(self) -> list[Path]:
        """Return the files to read, sorted."""
        if self._source.is_file():
            if self._source.suffix.lower() not in KINDS:
                raise ValueError(
                    f"{self._source}: no kind of file that can be read; expected {_EXPECTED}"
                )
            return [self._source]
        files = sorted(self._walk())
        if not files and not self._faults:
            others = f" but {_by_kind(self._skipped)}" if self._skipped else ""
            raise FileNotFoundError(
                f"{self._source}: no file there that can be read{others}; expected {_EXPECTED}"
            )
        return files

    def _walk(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self._source, onerror=self._add_fault):
            folders[:] = [name for name in folders if self._is_wanted(Path(folder, name))]
            yield from filter(self._is_wanted, (Path(folder, name) for name in names))

    def _is_wanted(self, path: Path) -> bool:
        reason = _why_skipped(path)
        if reason:
            self._skipped[reason] += 1
        return not reason

    def read(self, file: Path) -> Document | None:
        """Read a file as a document; return None if it cannot be read."""
        try:
            document_id = self._id_of(file)
            found = read_file_text(file)
            title = found.title or file.stem
            document = Document(id=document_id, title=title, text=found.text.strip())
        except OSError as error:
            self._add_fault(error)
            return None
        except ValueError as error:
            self._faults.append(f"{_shown(file)}: {error}")
            return None
        if found.encoding:
            self._guessed.append(f"{_shown(file)} ({found.encoding})")
        self._read[file.suffix.lower()] += 1
        return document

    def _id_of(self, file: Path) -> str:
        name = file.name if file == self._source else file.relative_to(self._source).as_posix()
        if _shown(name) != name:
            raise ValueError("its name is not UTF-8")
        return compose(name)

    def _add_fault(self, error: OSError) -> None:
        self._faults.append(f"{_shown(error.filename)}: {error.strerror}")

    def close(self, on_error: OnError) -> None:
        """Print the summary, or raise an error for unreadable files."""
        faults = f"{len(self._faults)} cannot be read: {_some(self._faults)}"
        if self._faults and on_error == "stop":
            raise ValueError(f"{faults}; mend or move them, or leave them out by --on_error skip")
        print(f"{self._source}: read {_by_kind(self._read)}")
        if self._skipped:
            print(f"{self._source}: skipped {_by_kind(self._skipped)}")
        if self._faults:
            print(f"{self._source}: skipped {faults}")
        if self._guessed:
            print(f"{self._source}: not UTF-8, and read by a guess: {_some(self._guessed)}")


def _why_skipped(path: Path) -> str | None:
    """Return why a path is skipped; None if it is not."""
    suffix = path.suffix.lower()
    if path.is_symlink():
        return "symbolic link"
    if path.name.startswith("."):
        return "hidden folder" if path.is_dir() else "hidden file"
    if path.is_dir():
        return None
    if suffix not in KINDS:
        return suffix or "unknown file"
    if not path.is_file():
        return "special file"
    missing = missing_libraries(suffix)
    return f"{suffix} (read after `pip install {' '.join(missing)}`)" if missing else None


def _by_kind(counts: Counter[str]) -> str:
    """Return a summary of counts by kind, the most frequent first.

    >>> _by_kind(Counter({".md": 2, "hidden file": 3, "symbolic link": 1}))
    '3 hidden files, 2 .md, 1 symbolic link'
    """
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    words = (
        f"{count} {kind}{'s' if count > 1 and not kind.startswith('.') else ''}"
        for kind, count in ordered
    )
    return ", ".join(words) or "nothing"


def _some(names: Iterable[str]) -> str:
    first = list(names)
    more = f"; and {len(first) - _NUM_NAMED} more" if len(first) > _NUM_NAMED else ""
    return "; ".join(first[:_NUM_NAMED]) + more


def _shown(path: object) -> str:
    """Return a path in printable form, even if its name is not valid text."""
    return str(path).encode(errors="backslashreplace").decode()
