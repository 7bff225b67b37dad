"""Extracting the title and text of a file: plain text, Markdown, HTML, PDF or Word."""

import io
import logging
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from prag_lightning.documents.yaml_text import load_yaml

# Encodings indicated by a byte order mark.
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
# Latin letters mixed with another script in a word, as in "naпve", show a wrong encoding guess.
_MIXED_SCRIPTS = re.compile(r"[A-Za-z][\u0370-\u05ff]|[\u0370-\u05ff][A-Za-z]")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
# In longer files, only the beginning is searched for a title.
_TITLE_CHARACTERS = 50_000
_MARKUP = ["a", "img", "b", "strong", "i", "em", "code"]
_NO_TEXT = ["script", "style", "noscript", "template", "nav", "head", "svg"]


class FileText(NamedTuple):
    """Text extracted from a file.

    Args:
        text: The text.
        title: The title, if there is one.
        encoding: The encoding, if it had to be guessed.
    """

    text: str
    title: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class _Kind:
    """A kind of file.

    Args:
        read: Extracts the text from a file's bytes.
        libraries: Libraries that must be installed for it.
    """

    read: Callable[[bytes], FileText]
    libraries: tuple[str, ...] = ()


def missing_libraries(suffix: str) -> list[str]:
    """Return the libraries that files with this suffix need but that are not installed."""
    return [name for name in KINDS[suffix].libraries if find_spec(name) is None]


def read_file_text(file: Path) -> FileText:
    """Extract the text of a file.

    Args:
        file: A file with one of the suffixes of ``KINDS``.

    Returns:
        Its text, and its title if there is one.

    Raises:
        ValueError: If it cannot be read, or has no extractable text, such as a scan.
        OSError: If the file cannot be opened.
    """
    kind = KINDS[file.suffix.lower()]
    if missing := missing_libraries(file.suffix.lower()):
        raise ValueError(f"to read it, `pip install {' '.join(missing)}`")
    content = file.read_bytes()
    if not kind.libraries:
        return kind.read(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = kind.read(content)
    except Exception as error:
        # On damaged files these libraries raise exceptions of any type.
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{kind.libraries[0]} cannot read it ({reason[:200]})") from error
    if content and not found.text.strip():
        raise ValueError("there is no text in it, as in a scan")
    return found


def decode_text(content: bytes) -> tuple[str, str | None]:
    """Decode a text, and return its encoding if that was guessed.

    Args:
        content: The text in UTF-8, with a byte order mark, or in any other encoding.

    Returns:
        The text, with line feeds as line breaks, and the encoding if it was guessed.

    Raises:
        ValueError: If it is not text.
    """
    encoding = _MARKS.get(content[:3]) or _MARKS.get(content[:2]) or "utf-8"
    guess = None
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text, guess = _guess(content)
    if "\0" in text:
        raise ValueError(f"a NUL at byte {content.index(0)}; is it text?")
    return text.replace("\r\n", "\n").replace("\r", "\n"), guess


def _guess(content: bytes) -> tuple[str, str]:
    from chardet import EncodingEra, detect

    found = detect(content, encoding_era=EncodingEra.MODERN_WEB)["encoding"]
    if not found:
        raise ValueError("neither UTF-8 nor any encoding that could be recognised; is it text?")
    text = content.decode(found, errors="replace")
    if _MIXED_SCRIPTS.search(text):
        found = "Windows-1252"
        text = content.decode(found, errors="replace")
    if text.count("\ufffd") > 0.01 * len(text):
        raise ValueError("neither UTF-8 nor any encoding that could be recognised; is it text?")
    return text, found


def _read_plain(content: bytes) -> FileText:
    text, encoding = decode_text(content)
    return FileText(text, encoding=encoding)


def _read_markdown(content: bytes) -> FileText:
    """Read Markdown; the title is the one in the front matter, or else the first heading."""
    text, encoding = decode_text(content)
    fields, body = _split_front_matter(text)
    title = fields.get("title")
    named = str(title) if isinstance(title, str | int | float) and str(title).strip() else None
    return FileText(body, named or first_heading(body), encoding)


def _split_front_matter(text: str) -> tuple[dict[object, object], str]:
    """Return the fields of the YAML front matter, and the text after it."""
    if found := _FRONT_MATTER.match(text):
        try:
            fields = load_yaml(found[1])
        except ValueError:
            return {}, text
        if isinstance(fields, dict):
            return fields, text[found.end() :]
    return {}, text


def first_heading(markdown: str) -> str | None:
    """Return the text of the first level 1 heading; `#` in code blocks is ignored."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(markdown[:_TITLE_CHARACTERS])
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open" and heading.tag == "h1":
            words = "".join(child.content for child in inline.children or ())
            return " ".join(words.split()) or None
    return None


def _read_html(content: bytes) -> FileText:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    page = BeautifulSoup(content, "html.parser")
    title = page.title.get_text() if page.title else ""
    for element in page(_NO_TEXT):
        element.decompose()
    convert = MarkdownConverter(
        heading_style="ATX", strip=_MARKUP, escape_asterisks=False, escape_underscores=False
    )
    text = convert.convert_soup(page).replace("\0", "")
    return FileText(text, " ".join(title.split()) or first_heading(text))


def _read_pdf(content: bytes) -> FileText:
    from pypdf import PdfReader

    # pypdf warns about problems that it has fixed itself.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(content)).pages]
    text = "\n\n".join(pages).replace("\0", "")
    return FileText(text.encode(errors="replace").decode())


def _read_word(content: bytes) -> FileText:
    from mammoth import convert_to_html

    return _read_html(convert_to_html(io.BytesIO(content)).value.encode())


_PLAIN = _Kind(_read_plain)
_MARKDOWN = _Kind(_read_markdown)
_HTML = _Kind(_read_html, ("markdownify",))
KINDS = {
    ".txt": _PLAIN,
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".html": _HTML,
    ".htm": _HTML,
    ".pdf": _Kind(_read_pdf, ("pypdf",)),
    ".docx": _Kind(_read_word, ("mammoth", *_HTML.libraries)),
}
