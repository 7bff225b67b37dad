"""Folders of notes, pages and papers as documents."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from prag_lightning.documents.formats import FORMATS
from prag_lightning.documents.formats.text import TextFiles
from prag_lightning.documents.records import Document
from tests.documents.sources import pdf_of, write_word


def read(source: Path, **settings: object) -> list[Document]:
    reader = TextFiles(**settings)  # type: ignore[arg-type]
    return [document for entry in reader(source) for document in entry.documents]


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def test_pages_papers_and_word_files_are_read_with_their_titles(tmp_path: Path) -> None:
    page = (
        "<html><head><title>Pell &amp; Lund</title><style>p {}</style></head><body><nav>Home</nav>"
        "<h1>Rivers</h1><p>The <b>Pell_1</b> is a\n river.</p><ul><li>long</li><li>cold</li></ul>"
        "<script>var x = 1;</script></body></html>"
    )
    write(tmp_path, {"page.html": page, "paper.pdf": pdf_of("The Pell is long.", "Page two.")})
    write(tmp_path, {"untitled.htm": "<h1>Lund</h1><p>A town.</p>"})
    write_word(tmp_path / "word.docx", "The Pell", "It is a river.")
    assert read(tmp_path) == [
        Document(
            id="page.html",
            title="Pell & Lund",
            text="# Rivers\n\nThe Pell_1 is a\nriver.\n\n* long\n* cold",
        ),
        Document(id="paper.pdf", title="paper", text="The Pell is long.\n\nPage two."),
        Document(id="untitled.htm", title="Lund", text="# Lund\n\nA town."),
        Document(id="word.docx", title="The Pell", text="# The Pell\n\nIt is a river."),
    ]


@pytest.mark.parametrize(
    ("markdown", "title", "text"),
    [
        ("# The *Pell* #\n\nA river.", "The Pell", "# The *Pell* #\n\nA river."),
        ("The Pell\n=====\nA river.", "The Pell", "The Pell\n=====\nA river."),
        ("# [The Pell](https://x.org) `1`\n", "The Pell 1", "# [The Pell](https://x.org) `1`"),
        ("```\n# a comment\n```\n\n# Pell", "Pell", "```\n# a comment\n```\n\n# Pell"),
        ("~~~python\n# a comment\n~~~\nText", "note", "~~~python\n# a comment\n~~~\nText"),
        ("    # a comment\n\nText", "note", "# a comment\n\nText"),
        ("## Only a section", "note", "## Only a section"),
        ("---\ntitle: Of rivers\ntags: [a]\n---\n# Pell\nText", "Of rivers", "# Pell\nText"),
        ("---\r\ntitle: 1984\r\n...\r\nText", "1984", "Text"),
        ("---\n# a comment\ntags: [a]\n---\nText", "note", "Text"),
        ("---\ntags: [a]\n---\n# Pell", "Pell", "# Pell"),
        # No front matter: a line of its own, not YAML, no fields, no end.
        ("---\n\nText\n\n---\nMore", "note", "---\n\nText\n\n---\nMore"),
        ("---\na: [b\n---\nText", "note", "---\na: [b\n---\nText"),
        ("---\ntitle: a\nText", "note", "---\ntitle: a\nText"),
    ],
)
@pytest.mark.parametrize("suffix", ["md", "markdown", "MD"])
def test_a_title_is_front_matter_s_or_the_first_heading_and_never_code(
    tmp_path: Path, markdown: str, title: str, text: str, suffix: str
) -> None:
    write(tmp_path, {f"note.{suffix}": markdown})
    assert read(tmp_path) == [Document(id=f"note.{suffix}", title=title, text=text)]


def test_hidden_folders_links_and_other_kinds_are_skipped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = write(tmp_path / "outside", {"secret.txt": "secret", "in/secret.txt": "secret"})
    wanted = ["a.md", "b.txt", "c/d.md"]
    others = ["map.PNG", "LICENSE", "h.ipynb", ".hidden.md", ".obsidian/e.md", ".git/f/g.txt"]
    notes = write(tmp_path / "notes", dict.fromkeys([*wanted, *others], "A note."))
    (notes / "link.txt").symlink_to(outside / "secret.txt")
    (notes / "linked").symlink_to(outside / "in")
    os.mkfifo(notes / "pipe.txt")
    assert [document.id for document in read(notes)] == wanted
    assert capsys.readouterr().out.splitlines() == [
        f"{notes}: read 2 .md, 1 .txt",
        f"{notes}: skipped 2 hidden folders, 2 symbolic links, 1 .ipynb, 1 .png, 1 hidden file, "
        "1 special file, 1 unknown file",
    ]


def test_what_cannot_be_read_is_named_all_at_once_and_can_be_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files: dict[str, str | bytes] = {
        "a.txt": "A.",
        "b.txt": b"b\0b",
        "c.pdf": b"%PDF-1.4 torn",
        "d.txt": bytes(range(1, 256)),
    }
    write(tmp_path, files)
    write(tmp_path, {"scan.pdf": pdf_of(""), "e.docx": b"PK torn"})
    faults = [
        r"b\.txt: a NUL at byte 1; is it text\?",
        r"c\.pdf: pypdf cannot read it \(.*\)",
        r"d\.txt: neither UTF-8 nor any encoding that could be recognised; is it text\?",
        r"e\.docx: mammoth cannot read it \(BadZipFile: File is not a zip file\)",
        r"scan\.pdf: there is no text in it, as in a scan",
    ]
    listed = r"5 cannot be read: .*" + r"; .*".join(faults)
    with pytest.raises(ValueError, match=listed + r"; mend .* by --on_error skip$") as stopped:
        read(tmp_path)
    assert "\n" not in str(stopped.value)
    assert capsys.readouterr().out == ""
    assert [document.id for document in read(tmp_path, on_error="skip")] == ["a.txt"]
    assert "skipped 5 cannot be read: " in capsys.readouterr().out


def test_of_many_faults_the_first_ten_are_named(tmp_path: Path) -> None:
    write(tmp_path, {f"{n:02}.txt": b"\0" for n in range(12)})
    with pytest.raises(
        ValueError, match=r"12 cannot be .*09\.txt: [^;]*; is it text\?; and 2 more"
    ):
        read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_must_not_be_read_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "A.", "closed/b.txt": "B."})
    (tmp_path / "closed").chmod(0)
    with pytest.raises(ValueError, match=r"1 cannot be read: .*closed: Permission denied"):
        read(tmp_path)


def test_a_name_that_is_not_utf_8_is_a_fault(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")).write_text("A.")
    with pytest.raises(ValueError, match=r"1 cannot be read: .*caf\\udce9\.txt: its name is not"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Müller wohnt in Zürich und trinkt täglich Kaffee über den Dächern.", "cp1252"),
        ("The naïve façade — déjà vu, he said, and left for the café.", "cp1252"),
        ("Привет, мир. Это текст на русском языке.", "cp1251"),
        ("これは日本語の文章です。東京は首都です。", "cp932"),
        ("北京是中国的首都。它有很长的历史。", "gb18030"),
        ("Łódź jest miastem w Polsce. Żółw, gęś, źrebię.", "utf-16"),
        ("Łódź jest miastem w Polsce. Żółw, gęś, źrebię.", "utf-8-sig"),
    ],
)
def test_other_encodings_are_recognised_and_guesses_are_told(
    tmp_path: Path, text: str, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"note.txt": text.encode(encoding)})
    [document] = read(tmp_path)
    assert document.text == text
    is_guess = not encoding.startswith("utf")
    assert ("not UTF-8, and read by a guess: " in capsys.readouterr().out) == is_guess


def test_a_mac_s_file_name_is_the_id_that_a_question_names(tmp_path: Path) -> None:
    write(tmp_path, {"Cafe\u0301.txt": "A cafe\u0301."})
    assert read(tmp_path) == [Document(id="Caf\u00e9.txt", title="Caf\u00e9", text="A caf\u00e9.")]


def test_one_file_is_read_and_another_kind_is_refused_with_what_is_expected(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "# A\n", "b.tex": "B"})
    assert read(tmp_path / "a.md") == [Document(id="a.md", title="A", text="# A")]
    with pytest.raises(
        ValueError, match=r"b\.tex: no kind of file that can be read; .* \.docx file"
    ):
        read(tmp_path / "b.tex")
    (tmp_path / "a.md").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file there that can be read but 1 \.tex; exp"):
        read(tmp_path)


def test_kinds_without_their_library_are_skipped_with_the_way_to_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pypdf", "mammoth"):
        monkeypatch.setitem(sys.modules, name, None)
    write(tmp_path, {"a.txt": "A.", "b.pdf": pdf_of("B"), "c.docx": b""})
    assert len(read(tmp_path)) == 1
    assert (
        "skipped 1 .docx (read after `pip install mammoth`), "
        "1 .pdf (read after `pip install pypdf`)" in capsys.readouterr().out
    )
    with pytest.raises(ValueError, match=r"b\.pdf: to read it, `pip install pypdf`"):
        read(tmp_path / "b.pdf")


def test_the_length_and_the_overlap_of_passages_can_be_chosen(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": " ".join(f"A{n} b{n} c{n}." for n in range(8))})
    assert len(read(tmp_path)) == 1
    passages = read(tmp_path, passage_words=9, overlap_words=3)
    assert [one.id for one in passages] == ["a.txt#0", "a.txt#1", "a.txt#2", "a.txt#3"]
    assert passages[1].text.startswith("A1 b1 c1. A2")


def test_json_lines_are_split_alike(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 7, "title": null, "text": "%s"}' % ("字" * 250))
    entries = list(FORMATS["jsonl"](tmp_path / "a.jsonl"))
    assert [one.id for entry in entries for one in entry.documents] == ["7#0", "7#1", "7#2"]
