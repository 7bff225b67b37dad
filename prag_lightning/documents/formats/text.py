"""Documents of one's own: folders of text and Markdown, or JSON Lines; long ones in passages."""

import re
from collections.abc import Iterator
from pathlib import Path

from prag_lightning.documents.formats.entries import Entry, decode, existing
from prag_lightning.documents.records import Document, read_records

# The length of DPR's passages, which retrievers and adapters are used to.
PASSAGE_WORDS = 100

_SUFFIXES = frozenset({".txt", ".md"})
_HEADING = re.compile(r"^#\s+(.+?)\s*#*\s*$", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")


def read_text(source: Path) -> Iterator[Entry]:
    """Read every ``.txt`` and ``.md`` file of a folder and the folders in it, or one file.

    A document's id is the file's path within the folder, its title a Markdown file's first heading,
    else the file's name.
    """
    source = existing(source, "a folder of .txt and .md files, or one such file")
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    texts = [file for file in files if file.suffix.lower() in _SUFFIXES and file.is_file()]
    if not texts:
        raise FileNotFoundError(f"{source}: no .txt or .md file there")
    for file in texts:
        text = decode(file.read_bytes(), str(file))
        heading = _HEADING.search(text) if file.suffix.lower() == ".md" else None
        name = file.relative_to(source).as_posix() if source.is_dir() else file.name
        title = heading[1] if heading else file.stem
        yield _entry(Document(id=name, title=title, text=text.strip()))


def read_jsonl(source: Path) -> Iterator[Entry]:
    """Read JSON Lines of ``id`` (or ``_id``), ``title`` and ``text``."""
    for document in read_records(source, Document):
        yield _entry(document)


def _entry(document: Document) -> Entry:
    return Entry(documents=tuple(split_document(document)))


def split_document(document: Document, passage_words: int = PASSAGE_WORDS) -> list[Document]:
    """Return the document in passages of about as many words, each with the document's title.

    Passages are of nearly one length and end with sentences, where these are no longer than a
    passage. One passage keeps the document's id, several have ``id#0``, ``id#1``, ...
    """
    num_words = len(document.text.split())
    num_passages = -(-num_words // passage_words)
    if num_passages <= 1:
        return [document]
    passages: list[list[str]] = [[] for _ in range(num_passages)]
    start = 0
    for segment in _segments(document.text, passage_words):
        length = len(segment.split())
        # A segment belongs to the passage in which its middle lies.
        passages[(2 * start + length) * num_passages // (2 * num_words)].append(segment)
        start += length
    texts = [" ".join(passage) for passage in passages if passage]
    return [
        document.model_copy(update={"id": f"{document.id}#{number}", "text": text})
        for number, text in enumerate(texts)
    ]


def _segments(text: str, passage_words: int) -> Iterator[str]:
    """Yield the text's sentences, and too long ones in parts."""
    for sentence in _SENTENCE_END.split(text):
        words = sentence.split()
        if len(words) <= passage_words:
            if words:
                yield sentence.strip()
            continue
        for start in range(0, len(words), passage_words):
            yield " ".join(words[start : start + passage_words])
