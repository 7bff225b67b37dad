import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prag_lightning.documents.records import (
    Augmentation,
    Document,
    Question,
    QuestionAnswer,
    Record,
    read_records,
    read_unique,
    write_records,
)

ADA = b'{"id": "1", "title": "Ada", "text": "Ada was born in Paris."}\n'


def read(tmp_path: Path, content: bytes, record_type: type[Record] = Document) -> list[Record]:
    file = tmp_path / "records.jsonl"
    file.write_bytes(content)
    return list(read_records(file, record_type))


def test_a_document_is_read_with_and_without_a_title_and_by_beir_s_name_of_the_id(
    tmp_path: Path,
) -> None:
    content = ADA + b'{"_id": "2", "text": "Bo."}\n'
    assert read(tmp_path, content) == [
        Document(id="1", title="Ada", text="Ada was born in Paris."),
        Document(id="2", title="", text="Bo."),
    ]


def test_an_augmentation_and_a_question_are_read_with_all_their_fields(tmp_path: Path) -> None:
    qa = {"question": "Where?", "answer": "Paris", "full_answer": "In Paris."}
    record = {"document_id": "1", "rewrites": ["Ada, Paris."], "qas": [qa]}
    assert read(tmp_path, json.dumps(record).encode(), Augmentation) == [
        Augmentation(document_id="1", rewrites=["Ada, Paris."], qas=[QuestionAnswer(**qa)])
    ]
    assert read(tmp_path, b'{"id": "q", "question": "Who?"}', Question) == [
        Question(id="q", question="Who?", answers=[], document_ids=[], type=None)
    ]


def test_blank_lines_windows_line_ends_a_byte_order_mark_and_unknown_fields_are_passed_over(
    tmp_path: Path,
) -> None:
    content = b'\xef\xbb\xbf{"id": "1", "text": "a", "url": 3}\r\n\r\n  \n{"id": "2", "text": "b"}'
    assert read(tmp_path, content) == [Document(id="1", text="a"), Document(id="2", text="b")]


def test_a_byte_order_mark_before_any_line_is_passed_over(tmp_path: Path) -> None:
    # As in files that were written one behind the other.
    content = ADA + b'\xef\xbb\xbf{"id": "2", "text": "\xef\xbb\xbfb"}'
    assert read(tmp_path, content)[1] == Document(id="2", text="\ufeffb")


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\u0085"
    content = json.dumps({"id": "1", "text": text}, ensure_ascii=False).encode() + b"\n" + ADA
    assert [record.text for record in read(tmp_path, content) if isinstance(record, Document)] == [
        text,
        "Ada was born in Paris.",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": "2"}', r"field 'text': Field required"),
        (b'{"text": "b"}', r"field 'id': Field required"),
        (b'{"id": "", "text": "b"}', r"field 'id': String should have at least 1 character"),
        (b'{"id": 2, "text": "b"}', r"field 'id': Input should be a valid string"),
        (b'{"id": "2", "text": null}', r"field 'text': Input should be a valid string"),
        (b'["2", "b"]', r"Input should be an object"),
        (b'{"id": "2", "text": "b"', r"Invalid JSON: EOF while parsing an object"),
        (b'{"id": "2", "text": "b"} {}', r"Invalid JSON: trailing characters"),
        (b'{"id": "2", "text": "a\x00b"}', r"Invalid JSON: control character"),
        (b"\x00\x00", r"Invalid JSON: expected value"),
        (rb'{"id": "2", "text": "\ud800"}', r"Invalid JSON: unexpected end of hex escape"),
        (b'{"id": "2", "text": "caf\xe9"}', r"not UTF-8 at byte 24 of the line; convert the file"),
        ('{"id": "2"}'.encode("utf-16"), r"not UTF-8 at byte 0 of the line"),
        # Of two byte order marks one is none.
        (b'\xef\xbb\xbf\xef\xbb\xbf{"id": "2"}', r"Invalid JSON: expected value"),
    ],
)
def test_a_bad_line_is_named_with_file_number_and_field(
    tmp_path: Path, line: bytes, problem: str
) -> None:
    with pytest.raises(ValueError, match=rf"records\.jsonl:3: {problem}"):
        read(tmp_path, ADA + b"\n" + line + b"\n" + ADA)


def test_a_field_within_a_list_is_named_by_its_path(tmp_path: Path) -> None:
    qas = b'[{"question": "a", "answer": "b", "full_answer": "c"}, {"question": "a", "answer": ""}]'
    line = b'{"document_id": "1", "rewrites": [], "qas": ' + qas + b"}"
    with pytest.raises(ValueError, match=r"records\.jsonl:1: field 'qas\.1\.answer': String"):
        read(tmp_path, line, Augmentation)


def test_records_before_a_bad_line_are_given_first(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(ADA + b"{")
    records = read_records(file, Document)
    assert next(records).id == "1"
    with pytest.raises(ValueError, match=r":2: "):
        next(records)


def test_an_escaped_null_character_is_text_like_any_other(tmp_path: Path) -> None:
    assert read(tmp_path, rb'{"id": "a\u0000", "text": "\u0000"}') == [
        Document(id="a\x00", text="\x00")
    ]


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
@pytest.mark.parametrize(
    ("record_type", "expected"),
    [
        (Question, "questions, as `prag data convert` writes them"),
        (Document, "documents, as `prag data convert` writes them"),
        (Augmentation, "augmentations, as `prag augment` writes them"),
    ],
)
def test_a_missing_file_is_named_with_what_is_expected_and_what_writes_it(
    tmp_path: Path, name: str, record_type: type[Record], expected: str
) -> None:
    message = f"no such file; expected JSON Lines of {expected}"
    with pytest.raises(FileNotFoundError, match=message):
        next(read_records(tmp_path / name, record_type))


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_records_is_refused_with_what_writes_them(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "augmentations.jsonl"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"there is no augmentation in it; `prag augment` writes"):
        read_unique(file, Augmentation)


def test_one_word_in_two_forms_of_unicode_is_read_as_one(tmp_path: Path) -> None:
    decomposed, composed = "Cafe\u0301", "Caf\u00e9"
    line = {"id": decomposed, "title": decomposed, "text": decomposed}
    [document] = read(tmp_path, json.dumps(line).encode())
    # Ids are data: two that look alike stay two.
    assert document == Document(id=decomposed, title=composed, text=composed)
    qa = dict.fromkeys(("question", "answer", "full_answer"), decomposed)
    record = {"document_id": "1", "rewrites": [decomposed], "qas": [qa]}
    [augmentation] = read(tmp_path, json.dumps(record).encode(), Augmentation)
    assert decomposed not in augmentation.model_dump_json()
    question = Question(id="q", question=decomposed, answers=[decomposed])
    assert (question.question, question.answers) == (composed, [composed])


def test_a_gold_document_that_is_named_twice_is_gold_once() -> None:
    assert Question(id="q", question="?", document_ids=["a", "b", "a"]).document_ids == ["a", "b"]


@settings(max_examples=25)
@given(st.lists(st.builds(Document, id=st.text(min_size=1), title=st.text(), text=st.text())))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, documents: list[Document]
) -> None:
    file = tmp_path_factory.mktemp("written") / "documents.jsonl"
    assert write_records(file, documents) == len(documents)
    assert list(read_records(file, Document)) == documents


def test_lines_are_plain_utf_8_without_fields_that_are_none(tmp_path: Path) -> None:
    file = tmp_path / "new" / "questions.jsonl"
    write_records(file, [Question(id="\u00e9", question="Who?", answers=["A\nB"])])
    assert file.read_bytes() == (
        '{"id": "\u00e9", "question": "Who?", "answers": ["A\\nB"], "document_ids": []}\n'.encode()
    )
    assert [path.name for path in file.parent.iterdir()] == ["questions.jsonl"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Document]:
        yield Document(id="new", text="half")
        raise KeyboardInterrupt

    file = tmp_path / "documents.jsonl"
    file.write_bytes(ADA)
    with pytest.raises(KeyboardInterrupt):
        write_records(file, interrupted())
    assert file.read_bytes() == ADA
    assert list(tmp_path.glob("*.jsonl")) == [file]
    assert write_records(file, [Document(id="new", text="whole")]) == 1
    assert list(read_records(file, Document)) == [Document(id="new", text="whole")]


def test_a_document_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Document(id="1", text="a").text = "b"


def test_exact_repetitions_are_dropped_and_the_order_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "documents.jsonl"
    first, second = Document(id="2", text="a"), Document(id="1", text="a")
    write_records(file, [first, second, first])
    assert read_unique(file, Document) == [first, second]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Document(id="1", text="a"), Document(id="1", text="b")),
        (Document(id="1", text="a"), Document(id="1", title="B", text="a")),
        (Question(id="1", question="Who?"), Question(id="1", question="Where?")),
        (
            Augmentation(document_id="1", rewrites=["a"], qas=[]),
            Augmentation(document_id="1", rewrites=["b"], qas=[]),
        ),
    ],
)
def test_one_id_for_two_records_is_refused_with_both_lines(
    first: Document, second: Document, tmp_path: Path
) -> None:
    file = tmp_path / "some.jsonl"
    write_records(file, [first, second])
    # A blank line is no record, but it is a line.
    file.write_text("\n" + file.read_text())
    kind = type(first).__name__.lower()
    message = rf"some\.jsonl: id '1' stands for two different {kind}s, in lines 2 and 3; keep one"
    with pytest.raises(ValueError, match=message):
        read_unique(file, type(first))


def test_ids_that_look_alike_are_different_ids(tmp_path: Path) -> None:
    file = tmp_path / "documents.jsonl"
    ids = ["1", "01", " 1", "caf\u00e9", "cafe\u0301", "a", "A"]
    write_records(file, [Document(id=one, text="a") for one in ids])
    assert [document.id for document in read_unique(file, Document)] == ids
