"""Folders of notes, pages and papers, or one such file; long ones in passages."""

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
    """Reads every text, Markdown, HTML, PDF and Word file of a folder and the folders in it.

    A document's id is the file's path within the folder. Its title is what the file gives as one
    (front matter, the first heading, HTML's title), else the file's name. Hidden files and folders
    are skipped, and so are symbolic links, which may lead out of the folder. What was read and what
    was skipped is printed at the end, by kind.

    Args:
        passage_words: Longer documents are split into passages of about as many words.
        overlap_words: How many words of a passage the next one begins with, at most.
        on_error: What happens when files cannot be read: ``stop`` ends the conversion and names
            them all, ``skip`` names them and goes on.
    """

    passage_words: int = PASSAGE_WORDS
    overlap_words: int = 0
    on_error: OnError = "stop"

    def __call__(self, source: Path) -> Iterator[Entry]:
        """Yield the passages of each file.

        Args:
            source: The folder, or one file.

        Yields:
            An entry for each file.

        Raises:
            FileNotFoundError: If there is no such folder or file, or no file of these kinds in it.
            ValueError: If files cannot be read, and are not to be skipped; names them.
        """
        account = _Account(existing(source, _EXPECTED))
        for file in account.list_files():
            document = account.read(file)
            if document is not None:
                passages = split_document(document, self.passage_words, self.overlap_words)
                yield Entry(documents=tuple(passages))
        account.close(self.on_error)


class _Account:
    """What was read of a folder, what was skipped, and what cannot be read."""

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
        """Return the document that a file is, or None if it cannot be read."""
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
        """Print the account, or refuse what cannot be read."""
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
    """Return the kind of what is not read, or None for a folder or file that is."""
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
    """Return how many there are of each kind, the most frequent first.

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
    """Return a path that can be printed, whatever bytes its name is made of."""
    return str(path).encode(errors="backslashreplace").decode()
