"""Every fault of a source is told with its place."""

import tracemalloc
from pathlib import Path

import pytest

from prag_lightning.documents.formats import FORMATS

HOTPOTQA = '{"_id": "h0", "question": "who?", "context": []}'
PUBLISHED = b'[{"test_id": 0, "question": "?", "answer": "x", "passages": ["p"], "augment": [%s]}]'
POPQA = b"id\tquestion\tobj\to_aliases\n"
DPR = b"id\ttext\ttitle\n"

FAULTS: list[tuple[str, str, bytes, str]] = [
    ("hotpotqa", "a.json", b"[{", r"a.json: not valid JSON: EOF while parsing .* line 1 column 2"),
    ("hotpotqa", "a.json", b"\xef\xbb\xbf{\n}", r"a.json: a JSON array was expected, not dict"),
    ("hotpotqa", "a.json", b"\xef\xbb\xbf{}", r"a.json:1: field '_id': Field required"),
    ("hotpotqa", "a.jsonl", b"\n{}\n", r"a.jsonl:2: field '_id': Field required"),
    ("hotpotqa", "a.jsonl", b"{\n", r"a.jsonl:1: not valid JSON: EOF while parsing an object"),
    ("hotpotqa", "a.parquet", b"PAR1", r"a.parquet: not a Parquet file that can be read: "),
    (
        "hotpotqa",
        "a.jsonl",
        b'{"id": 1, "question": "?", "context": {"title": ["t"], "sentences": []}}',
        r"a.jsonl:1: field 'context': Value error, zip\(\) argument 2 is shorter",
    ),
    ("hotpotqa", "a.json", b'["\xe9"]', r"a.json: not valid JSON: .* at line 1 column 3"),
    ("hotpotqa", "a.json", b'["\\ud800"]', r"a.json: not valid JSON: .* hex escape"),
    ("hotpotqa", "a.json", b"[" * 100_000, r"a.json: not valid JSON: recursion limit exceeded"),
    ("hotpotqa", "a.json", b"\xff\xfe[\x00", r"a.json: not valid JSON: .* at line 1 column 1"),
    (
        "hotpotqa",
        "a.json",
        f'[{HOTPOTQA}, {{"_id": "h1", "question": ""}}]'.encode(),
        r"a.json: entry 2: field 'question': String should have at least 1 character",
    ),
    (
        "hotpotqa",
        "a.json",
        b'[{"_id": "h1", "question": "who?", "context": [["t", "s"]]}]',
        r"a.json: entry 1: field 'context.0.1': Input should be a valid list",
    ),
    ("popqa", "a.tsv", b"id\tquestion\tobj\n", r"a.tsv:1: there is no column 'o_aliases' in the h"),
    ("popqa", "a.tsv", POPQA + b"1\twho?\tx\n", r"a.tsv:2: 3 fields instead of the header's 4"),
    ("popqa", "a.tsv", POPQA + b"1\twho?\tx\t{}\n", r"a.tsv:2: field 'o_aliases': .* valid list"),
    ("popqa", "a.tsv", POPQA + b"1\twho?\t\t[]\n", r"a.tsv:2: field 'obj': String should have at"),
    ("popqa", "a.tsv", POPQA + b"1\twho?\tx\t['\\ud800']\n", r"a.tsv:2: .* is no list in JSON or"),
    ("popqa", "a.tsv", POPQA + b"1\twho?\tx\t[NaN]\n", r"a.tsv:2: .*'\[NaN\]' is no list in JSON"),
    ("popqa", "a.tsv", POPQA + b"1\twho?\tx\t[1e400]\n", r"a.tsv:2: .*'\[1e400\]' is no list"),
    ("popqa", "a.tsv", POPQA + b"1\twho?\tx\t" + b"[" * 100_000 + b"\n", r"a.tsv:2: .* is no list"),
    (
        "dpr",
        "a.tsv",
        DPR + b'1\t"He said\tA\n2\tx\tB\n',
        r"a.tsv:2: unexpected end of data; a field that begins with a quotation mark must end",
    ),
    ("dpr", "a.tsv", DPR + b"1\tcaf\xe9\tA\n", r"a.tsv:2: not UTF-8 at byte 5; convert the file"),
    ("dpr", "a.tsv", DPR + b"1\ta\x00b\tA\n", r"a.tsv:2: a NUL at byte 3; is it text\?"),
    (
        "dpr",
        "a.tsv",
        b"x" * 200_000 + b"\n",
        r"a.tsv:1: there is no column 'id' in the .*: x{200}$",
    ),
    ("text", "a.txt", bytes(range(1, 256)), r"a.txt: neither UTF-8 nor any encoding that could be"),
    ("text", "a.txt", b"a\x00b", r"a.txt: a NUL at byte 1"),
    ("jsonl", "a.jsonl", b'{"id": "a", "text": "\\ud800"}', r"a.jsonl:1: Invalid JSON: .*hex esc"),
    ("jsonl", "a.jsonl", b'{"id": "", "text": "x"}', r"a.jsonl:1: field '_?id': String should"),
    ("flashrag", "a.jsonl", b'{"id": NaN}', r"a.jsonl:1: field 'id': .*, nan is neither a text"),
    (
        "flashrag",
        "a.jsonl",
        b'{"id": 1, "question": "who?", "golden_answers": ["x", 1e400]}',
        r"a.jsonl:1: field 'golden_answers': .*, inf is neither a text nor a number",
    ),
    ("flashrag", "a.jsonl", b'{"id": 1, "metadata": ' + b"[" * 100_000, r"a.jsonl:1: .* recursion"),
    ("flashrag", "a.jsonl", b'{"id": 1}', r"record 1, id '1': neither a question nor a document"),
    ("squad", "a.json", b'{"data": 1}', r"a.json: data: a JSON array was expected, not int"),
    ("squad", "a.json", b"1", r"a.json: a JSON array was expected, not int"),
    (
        "squad",
        "a.json",
        b'{"data": [{"title": "t", "paragraphs": [{"context": "c"}]}]}',
        r"a.json: data: entry 1: field 'paragraphs.0.qas': Field required",
    ),
    (
        "published",
        "a.json",
        PUBLISHED % b'{"passage": "p", "m_rewrite": "r", "n_rewrite": "r"}',
        r"entry 1: augment: one field '<model>_rewrite' was expected, not \['m_rewrite', 'n_rew",
    ),
    (
        "published",
        "a.json",
        PUBLISHED % b'{"passage": "p", "m_rewrite": "r", "m_qa": [{"question": "q"}]}',
        r"a.json: entry 1: augment: field 'qa.0.answer': Field required",
    ),
    (
        "published",
        "a.json",
        b'[{"test_id": 0, "question": "who?", "answer": "x"}]',
        r"a.json: entry 1: field 'passages': Field required",
    ),
]


@pytest.mark.parametrize(("format_name", "name", "content", "problem"), FAULTS)
def test_a_fault_is_told_with_file_place_and_field(
    tmp_path: Path, format_name: str, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        list(FORMATS[format_name](tmp_path / name))


def test_a_relevance_that_is_no_number_is_told(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    for score, problem in {"yes": "a valid number", "1e400": "a finite number"}.items():
        table = f"query-id\tcorpus-id\tscore\nq\td\t{score}\n"
        (tmp_path / "qrels" / "test.tsv").write_text(table)
        with pytest.raises(
            ValueError, match=f"test.tsv:2: field 'score': Input should be {problem}"
        ):
            list(FORMATS["beir"](tmp_path))


def test_of_a_key_that_stands_twice_the_last_counts(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "a", "id": "b", "question": "who?"}\n')
    [entry] = FORMATS["flashrag"](file)
    assert entry.question is not None
    assert entry.question.id == "b"


@pytest.mark.parametrize("name", ["text", "published"])
def test_a_folder_without_anything_to_read_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no (file there that can be read; exp|JSON file)"):
        list(FORMATS[name](tmp_path))


def test_a_corpus_larger_than_memory_can_be_read(tmp_path: Path) -> None:
    with (tmp_path / "psgs_w100.tsv").open("wb") as out:
        out.write(DPR)
        out.writelines(b"%d\t%s\tT\n" % (number, b"word " * 100) for number in range(20_000))
    tracemalloc.start()
    num_passages = sum(1 for _ in FORMATS["dpr"](tmp_path / "psgs_w100.tsv"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_passages == 20_000
    assert peak < 1_000_000 < (tmp_path / "psgs_w100.tsv").stat().st_size
