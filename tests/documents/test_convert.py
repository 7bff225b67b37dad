"""Whole conversions: the files of prag data convert."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from jsonargparse import auto_cli

from prag_lightning.cli.data import DATA_COMMANDS, FormatName
from prag_lightning.documents.convert import first_questions, write_entries
from prag_lightning.documents.formats import FORMATS
from prag_lightning.documents.formats.entries import Entry
from prag_lightning.documents.records import Augmentation, Document, Question, read_records
from prag_lightning.retrieval.run_file import RunFileRetriever

SAMPLES = Path(__file__).parent / "samples"
SOURCES = {
    "2wikimultihopqa": "2wikimultihopqa",
    "beir": "beir",
    "complexwebquestions": "ComplexWebQuestions_dev.json",
    "dpr": "psgs_w100.tsv",
    "flashrag": "flashrag_questions.jsonl",
    "hotpotqa": "hotpotqa.json",
    "jsonl": "documents.jsonl",
    "popqa": "popQA.tsv",
    "published": "published",
    "squad": "squad.json",
    "text": "text",
}


def prag_data(*arguments: object) -> None:
    auto_cli(DATA_COMMANDS, args=[str(one) for one in arguments], prog="prag data")


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


def test_the_command_knows_the_formats() -> None:
    assert list(get_args(FormatName)) == sorted(FORMATS)


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


def test_a_limit_holds_for_each_type_and_leaves_the_corpus() -> None:
    types = ["x", "x", "y", "x", "y", "z"]
    entries = [Entry(documents=(Document(id="d", text="t"),))]
    entries += [
        Entry(Question(id=str(number), question="?", type=kind))
        for number, kind in enumerate(types)
    ]
    kept = list(first_questions(entries, 2))
    assert kept[0].documents
    assert [entry.question.id for entry in kept if entry.question] == ["0", "1", "2", "4", "5"]


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
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["documents.jsonl"]
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
