"""Each format's hand-written sample, as the records it must become."""

import gzip
import json
import os
from pathlib import Path

import pytest

from prag_lightning.documents.entries import Entry, document_of
from prag_lightning.documents.formats import FORMATS
from prag_lightning.documents.records import Document, Question

SAMPLES = Path(__file__).parent / "samples"


def read(format_name: str, source: str | Path) -> list[Entry]:
    return list(FORMATS[format_name](SAMPLES / source))


def questions(entries: list[Entry]) -> list[Question]:
    return [entry.question for entry in entries if entry.question]


def documents(entries: list[Entry]) -> list[Document]:
    return [document for entry in entries for document in entry.documents]


ADA = document_of("Ada Pell", "Ada Pell was a painter. She was born in 1901.")
BO = document_of("Bo Lund", "Bo Lund was born in 1905.")
BOAT = document_of("The Red Boat", "The Red Boat is by Ada Pell.")
RIVER = document_of("Pell (river)", "The Pell is a river. It flows into the North Sea.")
LUND = document_of("Lund", "Lund is a town.")


@pytest.mark.parametrize("source", ["2wikimultihopqa", "2wikimultihopqa/dev.json"])
def test_2wikimultihopqa_takes_aliases_types_and_gold_paragraphs(source: str) -> None:
    first, second = read("2wikimultihopqa", source)
    assert first.question == Question(
        id="w0",
        question="Who was born first, Ada Pell or Bo Lund?",
        answers=["Ada Pell", "A. Pell", "Ada Maria Pell"],
        document_ids=[ADA.id, BO.id],
        type="comparison",
    )
    assert first.documents == (ADA, BO, document_of("Pell", "Pell is a river."))
    assert second.question
    assert second.question.answers == ["Oslo"]
    assert second.question.document_ids == [BOAT.id, ADA.id]
    assert second.documents == (BOAT, ADA)


def test_2wikimultihopqa_without_its_aliases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text("[]")
    with pytest.raises(FileNotFoundError, match=r"id_aliases.json: no such file .*aliases of answ"):
        read("2wikimultihopqa", tmp_path)


def test_hotpotqa_joins_sentences_and_knows_when_gold_is_incomplete() -> None:
    first, second = read("hotpotqa", "hotpotqa.json")
    assert first.question == Question(
        id="h0",
        question="Into which sea flows the Pell?",
        answers=["the North Sea"],
        document_ids=[RIVER.id],
        type="bridge",
    )
    assert first.documents == (RIVER, LUND)
    assert second.documents == (LUND,)
    assert second.question
    assert second.question.document_ids == []


def test_popqa_reads_aliases_in_json_and_in_python() -> None:
    assert questions(read("popqa", "popQA.tsv")) == [
        Question(
            id="4222362",
            question="What is George Rankin's occupation?",
            answers=["politician", "political leader", "polit."],
        ),
        Question(
            id="7",
            question="What does Bo Lund do?",
            answers=["driver", "chauffeur", "man of the 'road'"],
        ),
    ]


def test_popqa_never_runs_what_stands_in_the_table(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    call = f"__import__('pathlib').Path('{marker}').touch()"
    (tmp_path / "popQA.tsv").write_text(f"id\tquestion\tobj\to_aliases\n1\twho?\tx\t{call}\n")
    with pytest.raises(ValueError, match=r"popQA.tsv:2: field 'o_aliases': .* is no list in JSON"):
        read("popqa", tmp_path)
    assert not marker.exists()


def test_complexwebquestions_accepts_all_answers_and_aliases() -> None:
    assert questions(read("complexwebquestions", "")) == [
        Question(
            id="WebQTest-832_c334",
            question="Lou Seal is the mascot for the team that last won the World Series when?",
            answers=["2014 World Series", "2014 WS", "2012 World Series"],
        ),
        Question(
            id="WebQTest-590_6aad",
            question="Where is the nation with Cape Verdean escudo as currency?",
            answers=["Africa"],
        ),
    ]


def test_the_published_layout_gives_documents_augmentations_and_rankings() -> None:
    # total.json lists the comparison alone, so it comes first.
    comparison, bridge = read("published", "published")
    ada, pell = document_of("", "Ada Pell was born in 1901."), document_of("", "Pell is a river.")
    assert comparison.question == Question(
        id="w0",
        question="Who was born first?",
        answers=["Ada Pell", "A. Pell"],
        document_ids=[ada.id],
        type="comparison",
    )
    assert comparison.retrieved == (ada.id, pell.id)
    assert comparison.augmentations[0].rewrites == ["In 1901 Ada Pell was born."]
    assert [pair.answer for pair in comparison.augmentations[0].qas] == ["1901"]
    # The id has the type's name, for other types count from 0 too; the empty passage is filler.
    assert bridge.question == Question(
        id="bridge-0", question="Which river?", answers=["Pell"], type="bridge"
    )
    assert (bridge.documents, bridge.retrieved) == ((pell,), (pell.id,))
    assert [one.rewrites for one in bridge.augmentations] == [["Another wording."]]


def test_one_published_file_has_no_type_of_its_own() -> None:
    (entry,) = read("published", "published/bridge.json")
    assert entry.question
    assert (entry.question.id, entry.question.type) == ("0", None)


def test_flashrag_reads_questions_and_corpora() -> None:
    assert questions(read("flashrag", "flashrag_questions.jsonl")) == [
        Question(
            id="dev_0",
            question="Into which sea flows the Pell?",
            answers=["the North Sea", "North Sea"],
            type="bridge",
        ),
        Question(id="dev_1", question="How many towns are there?", answers=["2"]),
    ]
    assert documents(read("flashrag", "flashrag_corpus.jsonl")) == [
        Document(id="0", title="Pell (river)", text="The Pell is a river.\nIt is long."),
        Document(id="1", text="A text without a title."),
    ]


def test_paragraphs_of_one_title_are_all_kept_and_all_gold(tmp_path: Path) -> None:
    def gold_of(context: object, facts: object) -> list[str]:
        record = {"_id": "q", "question": "?", "context": context, "supporting_facts": facts}
        (tmp_path / "a.json").write_text(json.dumps([record]))
        [entry] = read("hotpotqa", tmp_path / "a.json")
        assert entry.question
        by_id = {document.id: document.text for document in entry.documents}
        assert len(by_id) == len(entry.documents)
        return [by_id[document_id] for document_id in entry.question.document_ids]

    two = [["A", ["gold"]], ["A", ["other"]], ["B", ["b"]]]
    assert gold_of(two, [["A", 0]]) == ["gold", "other"]
    # Only one of them has a second sentence.
    assert gold_of([["A", ["one"]], ["A", ["two,", " three"]]], [["A", 1]]) == ["two, three"]
    assert gold_of(two, [["A", 7], ["B", 0]]) == ["gold", "other", "b"]
    assert gold_of(two, [["A", 0], ["C", 0]]) == []
    # One paragraph twice is one document.
    assert gold_of([["A", ["gold"]], ["A", ["gold"]]], [["A", 0]]) == ["gold"]


@pytest.mark.parametrize("title", ["", '"title": null, '])
def test_squad_s_articles_need_no_title(tmp_path: Path, title: str) -> None:
    qas = '[{"id": 1, "question": "?", "answers": [{"text": "x"}]}]'
    paragraphs = f'[{{"context": "c", "qas": {qas}}}]'
    (tmp_path / "a.json").write_text(f'{{"data": [{{{title}"paragraphs": {paragraphs}}}]}}')
    [entry] = read("squad", tmp_path / "a.json")
    assert entry.documents == (document_of("", "c"),)


def test_one_passage_in_two_forms_of_unicode_is_one_document() -> None:
    assert document_of("Cafe\u0301", "e\u0301") == document_of("Caf\u00e9", "\u00e9")


def test_numbers_are_ids_and_null_is_no_title(tmp_path: Path) -> None:
    line = '{"_id": 1, "title": null, "text": "The Pell."}\n{"_id": 2, "text": null}\n'
    expected = [Document(id="1", text="The Pell."), Document(id="2", text="")]
    (tmp_path / "corpus.jsonl").write_text(line)
    assert documents(read("jsonl", tmp_path / "corpus.jsonl")) == expected
    (tmp_path / "queries.jsonl").write_text('{"_id": 7, "text": "which?", "metadata": null}\n')
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n7\t1\t1\n")
    entries = read("beir", tmp_path)
    assert documents(entries) == expected
    assert questions(entries) == [Question(id="7", question="which?", document_ids=["1"])]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_dpr_takes_carriage_returns_within_lines_and_fields_of_any_length(
    tmp_path: Path, mark: str
) -> None:
    long = "x" * 200_000
    lines = f'{mark}id\ttext\ttitle\r\n1\ta\rb\tA\r\n2\t{long}\tB\r\n3\t"{long} ""y"""\tC\r\n'
    (tmp_path / "a.tsv").write_bytes(lines.encode())
    assert documents(read("dpr", tmp_path / "a.tsv")) == [
        Document(id="1", title="A", text="a b"),
        Document(id="2", title="B", text=long),
        Document(id="3", title="C", text=f'{long} "y"'),
    ]


def test_beir_joins_queries_with_their_relevant_documents() -> None:
    entries = read("beir", "beir")
    assert documents(entries) == [
        Document(id="d1", title="Pell", text="The Pell is a river."),
        Document(id="d2", text="Lund is a town."),
    ]
    assert questions(entries) == [
        Question(id="q1", question="rivers of the north", document_ids=["d1"]),
        Question(id="q3", question="mountains", document_ids=["d2"]),
    ]


def test_dpr_reads_one_passage_a_line_packed_or_not(tmp_path: Path) -> None:
    passages = [
        Document(id="1", title="Ada Pell", text='Ada said "boat" and left.'),
        Document(id="2", title="Bo Lund", text="Lund is 5' 11\" tall."),
        Document(id="3", title="Empty", text=""),
    ]
    assert documents(read("dpr", "psgs_w100.tsv")) == passages
    packed = tmp_path / "psgs_w100.tsv.gz"
    packed.write_bytes(gzip.compress((SAMPLES / "psgs_w100.tsv").read_bytes()))
    assert documents(read("dpr", packed)) == passages


def test_dpr_is_streamed(tmp_path: Path) -> None:
    (tmp_path / "psgs.tsv").write_bytes(b"id\ttext\ttitle\n1\tone\tOne\n\xff\xff\n")
    entries = FORMATS["dpr"](tmp_path / "psgs.tsv")
    assert next(entries).documents[0].id == "1"
    with pytest.raises(ValueError, match=r"psgs.tsv:3: not UTF-8 at byte 0"):
        next(entries)


def test_squad_leaves_out_what_cannot_be_answered() -> None:
    entries = read("squad", "squad.json")
    river = document_of("Pell (river)", "The Pell is a river.")
    nobody = document_of("Pell (river)", "Nobody asks about Lund.")
    assert documents(entries) == [river, river, nobody]
    assert questions(entries) == [
        Question(
            id="s0",
            question="What is the Pell?",
            answers=["a river", "river"],
            document_ids=[river.id],
        ),
        Question(id="s2", question="Which river is it?", answers=["Pell"], document_ids=[river.id]),
    ]


def test_text_and_markdown_files_are_documents() -> None:
    assert documents(read("text", "text")) == [
        Document(id="empty.TXT", title="empty", text=""),
        Document(id="lund.txt", title="lund", text="Lund is a town."),
        Document(
            id="rivers/pell.md",
            title="The Pell",
            text="# The Pell #\n\nThe Pell is a river. It is long.",
        ),
    ]
    assert documents(read("text", "text/lund.txt"))[0].id == "lund.txt"


def test_json_lines_are_documents() -> None:
    assert documents(read("jsonl", "documents.jsonl")) == [
        Document(id="a", title="Pell", text="The Pell is a river."),
        Document(id="b", text="Lund is a town."),
    ]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_tells_that_its_source_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.*: no such file"):
        read(name, tmp_path / "none")


def test_real_hotpotqa_has_all_its_gold_paragraphs() -> None:
    if "PRAG_DATA" not in os.environ:
        pytest.skip("PRAG_DATA is not set: there is no sample of HotpotQA")
    file = Path(os.environ["PRAG_DATA"]) / "hotpotqa_sample/hotpot_distractor_sample.json"
    entries = read("hotpotqa", file)
    assert [question.type for question in questions(entries)].count("bridge") == 41
    for entry, raw in zip(entries, json.loads(file.read_text(encoding="utf-8")), strict=True):
        assert entry.question
        titles = {one.id: one.title for one in entry.documents}
        gold = {titles[document_id] for document_id in entry.question.document_ids}
        assert gold == {title for title, _ in raw["supporting_facts"]}


def test_the_real_published_layout_is_read() -> None:
    if "PRAG_DATA" not in os.environ:
        pytest.skip("PRAG_DATA is not set: there is no file of the published layout")
    folder = Path(os.environ["PRAG_DATA"]) / "squad_augmented"
    entries = read("published", folder / "published_layout_total.json")
    assert [len(entry.retrieved) for entry in entries] == [3] * 30
    assert all(len(one.qas) == 3 for entry in entries for one in entry.augmentations)
