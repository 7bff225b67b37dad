"""Whole conversions: the files of prag data convert."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jsonargparse import auto_cli

from prag_lightning.cli.data import DATA_COMMANDS
from prag_lightning.documents.convert import write_entries
from prag_lightning.documents.formats import FORMATS
from prag_lightning.documents.formats.entries import Entry, document_of
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
    found = retriever.retrieve(list(read_records(tmp_path / "out/questions.jsonl", Question)), 3)
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


BEIR_CORPUS = '{"_id": "1", "title": "Only a title", "text": ""}\n{"_id": "2", "text": "b"}\n'


def write_beir(folder: Path, relevance: str) -> Path:
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(BEIR_CORPUS)
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "which?"}\n')
    (folder / "qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{relevance}")
    return folder


@pytest.mark.parametrize(
    ("relevance", "gold", "num_left_out"),
    [
        ("q\t2\t1\n", ["2"], 0),
        ("q\t1\t1\n", [], 1),
        ("q\t1\t1\nq\t2\t1\n", ["2"], 1),
        ("q\t2\t1\nq\t9\t1\nq\t1\t1\n", ["2"], 2),
    ],
)
def test_gold_documents_that_are_empty_or_not_there_are_left_out_and_counted(
    tmp_path: Path,
    relevance: str,
    gold: list[str],
    num_left_out: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prag_data("convert", "beir", write_beir(tmp_path / "beir", relevance), tmp_path / "out")
    [question] = read_records(tmp_path / "out/questions.jsonl", Question)
    assert question.document_ids == gold
    out = capsys.readouterr().out
    assert (f", {num_left_out} gold documents left out, empty or not there" in out) == (
        num_left_out > 0
    )
    assert "1 empty documents left out" in out


def test_an_empty_gold_paragraph_leaves_the_others_gold(tmp_path: Path) -> None:
    record = {
        **{"_id": "h", "question": "?", "answer": "x"},
        "context": [["A", [""]], ["B", ["b"]], ["C", ["c"]]],
        "supporting_facts": [["A", 0], ["B", 0]],
    }
    (tmp_path / "a.json").write_text(json.dumps([record]))
    prag_data("convert", "hotpotqa", tmp_path / "a.json", tmp_path / "out")
    [question] = read_records(tmp_path / "out/questions.jsonl", Question)
    assert question.document_ids == [document_of("B", "b").id]


def test_gold_documents_are_known_wherever_they_stand(tmp_path: Path) -> None:
    before, after = Document(id="before", text="b"), Document(id="after", text="a")
    with_other = Document(id="other", text="o")
    gold = ["before", "after", "other", "nowhere"]
    entries = [
        Entry(documents=(before,)),
        Entry(Question(id="p", question="?"), documents=(with_other,)),
        Entry(Question(id="q", question="?", document_ids=gold), retrieved=("nowhere", "after")),
        Entry(documents=(after,)),
    ]
    conversion = write_entries(entries, tmp_path)
    _, question = read_records(tmp_path / "questions.jsonl", Question)
    assert question.document_ids == ["before", "after", "other"]
    assert conversion.counts["gold documents left out, empty or not there"] == 1
    ranking = RunFileRetriever(tmp_path / "retrieved.trec").retrieve([question], 3)
    assert ranking == [[("after", 1.0)]]


def test_gold_documents_of_questions_without_a_corpus_are_elsewhere_and_stay(
    tmp_path: Path,
) -> None:
    question = Question(id="q", question="?", document_ids=["elsewhere"])
    write_entries([Entry(question)], tmp_path)
    assert list(read_records(tmp_path / "questions.jsonl", Question)) == [question]


def test_one_id_for_two_questions_or_documents_is_refused(tmp_path: Path) -> None:
    one, two = Question(id="q", question="one?"), Question(id="q", question="two?")
    with pytest.raises(ValueError, match="two different questions have the id 'q'"):
        write_entries([Entry(one), Entry(one), Entry(two)], tmp_path)
    first = Entry(one, documents=(Document(id="d", text="one"),))
    other = Entry(Question(id="r", question="?"), documents=(Document(id="d", text="two"),))
    with pytest.raises(ValueError, match="two different documents have the id 'd'"):
        write_entries([first, other], tmp_path)
    assert not tmp_path.exists()


def test_a_second_conversion_replaces_the_first_as_a_whole_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prag_data("convert", "published", SAMPLES / "published", out)
    (out / "index").mkdir()
    (out / "mine.txt").write_text("mine")
    capsys.readouterr()
    prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", out)
    assert sorted(path.name for path in out.iterdir()) == [
        *("documents.jsonl", "index", "mine.txt", "origin.json")
    ]
    assert capsys.readouterr().out.splitlines() == [
        f"{out}: 2 documents",
        f"{out}: the files of an earlier run are replaced",
        f"{out}: removed, for this run has none: augmentations.jsonl, questions.jsonl, "
        "retrieved.trec",
        f"{out}: kept, though made from the earlier documents: index",
    ]
    origin = json.loads((out / "origin.json").read_text())
    assert origin["format"] == "jsonl"
    assert origin["files"] == ["documents.jsonl"]


def test_augmentations_that_another_command_made_are_kept_and_never_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", out)
    (out / "augmentations.jsonl").write_text("hours of work")
    prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", out)
    assert "kept, though made from the earlier documents: augm" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"augmentations\.jsonl: is there already, and not from"):
        prag_data("convert", "published", SAMPLES / "published", out)
    assert (out / "augmentations.jsonl").read_text() == "hours of work"
    assert len(list(read_records(out / "documents.jsonl", Document))) == 2


def test_documents_that_no_conversion_wrote_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "documents.jsonl").write_text("mine")
    with pytest.raises(ValueError, match=r"documents\.jsonl: is there already, and not from this"):
        prag_data("convert", "jsonl", SAMPLES / "documents.jsonl", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["documents.jsonl"]
    assert (tmp_path / "documents.jsonl").read_text() == "mine"


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
