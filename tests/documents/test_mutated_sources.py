"""Damaged sources of every format: whatever is in them, they are read or refused in one line."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from prag_lightning.documents.convert import write_entries
from prag_lightning.documents.formats import FORMATS
from prag_lightning.documents.records import Document, Question, read_records
from tests.documents.sources import HF_HOTPOTQA, HF_SQUAD, SAMPLES, SOURCES, pdf_of, write_word

PIECES = [
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\r",
        b"\n",
        b"\t",
        b'"',
        b"\\",
        b"{",
    ),
    *(b"}", b"[", b"]", b",", b":", b"null", b"NaN", b"1e999", b"-1", b"9" * 5000, b"true", b"{}"),
    *(b"[]", b"[" * 3000, b'""', b"\\ud800", b"---\n", b"# ", b"```\n", b"%PDF", b"stream", b"<<"),
    *(b"<p>", b"<title>", "字。".encode(), "é".encode("utf-16"), b"\xc2\x85", b". "),
]
# Any value in the place of any other of a JSON document.
VALUES = st.recursive(
    st.sampled_from(
        [None, True, 0, -7, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\ud800"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("text"), inner, max_size=1),
    max_leaves=4,
)


@pytest.fixture(scope="module", autouse=True)
def quick_disk() -> Iterator[None]:
    """Flush nothing to the disk, which takes most of the time of 500 conversions."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """One source of every format, and of every kind of file that a format reads."""
    folder = tmp_path_factory.mktemp("sources")
    found = [(name, SAMPLES / source) for name, source in SOURCES.items()]
    for name, rows in (("squad", HF_SQUAD), ("hotpotqa", HF_HOTPOTQA)):
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found.append((name, file))
    (folder / "a.pdf").write_bytes(pdf_of("The Pell is a river.", "It is long."))
    write_word(folder / "a.docx", "The Pell", "It is a river.")
    (folder / "a.html").write_text("<title>Pell</title><h1>Pell</h1><p>It is <b>long</b>.</p>")
    (folder / "a.md").write_text("---\ntitle: Pell\n---\n# Pell\n\n```\n# code\n```\nIt is long.")
    return [*found, *(("text", file) for file in sorted(folder.glob("a.*")))]


def convert(format_name: str, source: Path, output_dir: Path) -> None:
    """Read a source into a folder; what can be read must be readable again."""
    message = None
    try:
        write_entries(FORMATS[format_name](source), output_dir)
    except (ValueError, OSError) as error:
        message = str(error)
    event("refused" if message else "read")
    assert message is None or (0 < len(message) < 1000 and "\n" not in message)
    for name, record_type in (("documents", Document), ("questions", Question)):
        if (output_dir / f"{name}.jsonl").exists():
            list(read_records(output_dir / f"{name}.jsonl", record_type))


def mutate(source: Path, folder: Path, change: Callable[[Path, bytes], bytes], which: int) -> Path:
    """Copy a source, with one of its files changed."""
    copy = folder / source.name
    if source.is_dir():
        shutil.copytree(source, copy)
    else:
        shutil.copy(source, copy)
    files = sorted(path for path in [copy, *copy.rglob("*")] if path.is_file())
    file = files[which % len(files)]
    file.write_bytes(change(file, file.read_bytes()))
    return copy


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_pieces_that_do_not_belong_are_read_or_refused_in_one_line(
    sources: list[tuple[str, Path]], data: st.DataObject
) -> None:
    format_name, source = data.draw(st.sampled_from(sources))

    def change(file: Path, content: bytes) -> bytes:
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(content)))
            end = start + data.draw(st.sampled_from([0, 1, 5, 10_000]))
            content = content[:start] + data.draw(st.sampled_from(PIECES)) + content[end:]
        return content

    with tempfile.TemporaryDirectory() as folder:
        copy = mutate(source, Path(folder), change, data.draw(st.integers(0, 3)))
        convert(format_name, copy, Path(folder) / "out")


def places(value: object) -> list[tuple[object, object]]:
    """Return every place in a JSON value, as what it is in and its key or index there."""
    found: list[tuple[object, object]] = []
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        found += [(value, key), *places(part)]
    return found


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_values_of_any_type_are_read_or_refused_in_one_line(
    sources: list[tuple[str, Path]], data: st.DataObject
) -> None:
    with_json = [one for one in sources if one[0] not in ("text", "dpr", "popqa")]
    format_name, source = data.draw(st.sampled_from(with_json))

    def change(file: Path, content: bytes) -> bytes:
        if not file.suffix.startswith(".json"):
            return content
        try:
            values, separator = [json.loads(content)], ""
        except ValueError:
            values, separator = [json.loads(line) for line in content.splitlines() if line], "\n"
        container, key = data.draw(st.sampled_from(places(values)))
        container[key] = data.draw(VALUES)  # type: ignore[index]
        return separator.join(map(json.dumps, values)).encode()

    with tempfile.TemporaryDirectory() as folder:
        copy = mutate(source, Path(folder), change, data.draw(st.integers(0, 3)))
        convert(format_name, copy, Path(folder) / "out")
