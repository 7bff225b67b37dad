"""Whole conversions: the files of prag data convert."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from prag_lightning.documents.convert import write_entries
from prag_lightning.documents.entries import Entry
from prag_lightning.documents.formats import FORMATS
from prag_lightning.documents.records import Augmentation, Document, Question, read_records
from prag_lightning.retrieval.run_file import RunFileRetriever
from tests.documents.sources import SAMPLES, SOURCES, prag_data


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_is_converted_into_readable_records(name: str, tmp_path: Path) -> None:
    prag_data("convert", name, SAMPLES / SOURCES[name], tmp_path)
    entries = list(FORMATS[name](SAMPLES / SOURCES[name]))
    questions_file, documents_file = tmp_path / "questions.jsonl", tmp_path / "documents.jsonl"
    questions = [entry.question for entry in entries if entry.question]
    assert questions_file.exists() == bool(questions)
    if questions:
        assert list(read_records(questions_file, Question)) == questions
    expected = {one.id: one for entry in entries for one in entry.documents if one.text}
    assert documents_file.exists() == bool(expected)
    if expected:
        assert list(read_records(documents_file, Document)) == list(expected.values())


def test_the_help_names_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prag_data("convert", "--help")
    words = set(re.findall(r"\w+", capsys.readouterr().out))
    assert set(FORMATS) <= words


def test_the_published_layout_becomes_records_and_a_run_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_data("convert", "published", SAMPLES / "published", tmp_path / "out")
    assert capsys.readouterr().out == (
        f"{tmp_path / 'out'}: 2 documents, 2 augmentations, 2 questions\n"
    )
    documents = {
        one.text: one.id for one in read_records(tmp_path / "out/documents.jsonl", Document)
    }
    augmented = list(read_records(tmp_path / "out/augmentations.jsonl", Augmentation))
    river = documents["Pell is a river."]
    # The first augmentation of a document is the one that counts.
    assert [one.rewrites for one in augmented if one.document_id == river] == [
        ["The Pell is a stream."]
    ]
    retriever = RunFileRetriever(tmp_path / "out/retrieved.trec")
    found = retriever.retrieve(list(read_records(tmp_path / "out/questions.jsonl", Question)), 2)
    assert found == [
        [(documents["Ada Pell was born in 1901."], 1.0), (river, 0.5)],
        [(river, 1.0)],
    ]


def test_documents_of_questions_beyond_the_limit_are_left_out(tmp_path: Path) -> None:
    prag_data("convert", "squad", SAMPLES / "squad.json", tmp_path, "--limit", 1)
    assert len(list(read_records(tmp_path / "questions.jsonl", Question))) == 1
    with pytest.raises(SystemExit):
        prag_data("convert", "squad", SAMPLES / "squad.json", tmp_path, "--limit", 0)


def test_empty_documents_are_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_data("convert", "dpr", SAMPLES / "psgs_w100.tsv", tmp_path)
    assert capsys.readouterr().out.endswith(": 2 documents, 1 empty documents left out\n")


def test_one_id_for_two_questions_or_documents_is_refused(tmp_path: Path) -> None:
    one, two = Question(id="q", question="one?"), Question(id="q", question="two?")
    with pytest.raises(ValueError, match="two different questions have the id 'q'"):
        write_entries([Entry(one), Entry(one), Entry(two)], tmp_path)
    first = Entry(one, documents=(Document(id="d", text="one"),))
    other = Entry(Question(id="r", question="?"), documents=(Document(id="d", text="two"),))
    with pytest.raises(ValueError, match="two different documents have the id 'd'"):
        write_entries([first, other], tmp_path)
    assert not tmp_path.exists()


def test_a_random_slice_is_the_same_again(tmp_path: Path) -> None:
    lines = [f'{{"id": "{n}", "question": "{n}?"}}\n' for n in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    taken = []
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        options = ("--limit", 5, "--seed", seed)
        prag_data("convert", "flashrag", tmp_path / "a.jsonl", tmp_path / name, *options)
        taken.append((tmp_path / name / "questions.jsonl").read_text().splitlines())
    assert len(taken[0]) == 5
    assert taken[0] == taken[1] != taken[2]
    with pytest.raises(ValueError, match="--seed draws what --limit takes; give that, too"):
        prag_data("convert", "flashrag", tmp_path / "a.jsonl", tmp_path / "none", "--seed", 1)


def test_a_limit_takes_documents_where_there_are_no_questions_or_says_that_it_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prag_data("convert", "dpr", SAMPLES / "psgs_w100.tsv", tmp_path / "dpr", "--limit", 1)
    assert len(list(read_records(tmp_path / "dpr/documents.jsonl", Document))) == 1
    source = SAMPLES / "flashrag_corpus.jsonl"
    prag_data("convert", "flashrag", source, tmp_path / "flashrag", "--limit", 1)
    assert len(list(read_records(tmp_path / "flashrag/documents.jsonl", Document))) == 2
    assert "all documents were taken, for --limit counts questions" in capsys.readouterr().out


def test_settings_of_passages_reach_the_formats_that_have_them(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" ".join(f"A{n} b{n} c{n}." for n in range(8)))
    options = ("--passage_words", 9, "--overlap_words", 3, "--on_error", "skip")
    prag_data("convert", "text", tmp_path / "a.txt", tmp_path / "out", *options)
    assert len(list(read_records(tmp_path / "out/documents.jsonl", Document))) == 4
    with pytest.raises(ValueError, match="--passage_words: the format 'dpr' has no such setting"):
        prag_data("convert", "dpr", tmp_path, tmp_path / "out", "--passage_words", 9)


def test_a_format_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no format 'hotpot'; did you mean 'hotpotqa'\?"):
        prag_data("convert", "hotpot", tmp_path, tmp_path)
    with pytest.raises(ValueError, match="no format 'xyz'; there are 2wikimultihopqa, beir, "):
        prag_data("convert", "xyz", tmp_path, tmp_path)


def test_a_source_with_nothing_in_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(
        ValueError, match="there is nothing to convert: no document and no question"
    ):
        write_entries(FORMATS["jsonl"](tmp_path / "none.jsonl"), tmp_path / "out")


def test_a_fault_at_the_end_leaves_the_former_files(tmp_path: Path) -> None:
    prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", tmp_path / "out")
    (tmp_path / "bad.jsonl").write_text('{"id": "new", "text": "x"}\n{"id": "torn"\n')
    with pytest.raises(ValueError, match=r"bad.jsonl:2: Invalid JSON"):
        prag_data("convert", "jsonl", tmp_path / "bad.jsonl", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "documents.jsonl",
        "origin.json",
    ]
    assert [one.id for one in read_records(tmp_path / "out/documents.jsonl", Document)] == [
        "a",
        "b",
    ]


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, prag_lightning.cli.data\n"
        "heavy = {'torch', 'transformers', 'tantivy', 'numpy', 'pydantic', 'rich'}\n"
        "print(heavy & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "set()\n"
