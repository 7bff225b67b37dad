"""``prag augment`` as users run it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import auto_cli
from lightning.pytorch.utilities import rank_zero_only

from prag_lightning.cli import augment as commands
from prag_lightning.cli.augment import AUGMENT_COMMANDS
from prag_lightning.documents.records import Augmentation, Document, read_records, write_records
from tests.augmentation.chat_server_double import ChatServerDouble, Handler, obey, say, send
from tests.conftest import tiny_base, tiny_tokenizer

_PROGRAM = (
    "import sys; from jsonargparse import auto_cli; "
    "from prag_lightning.cli.augment import AUGMENT_COMMANDS; "
    "sys.exit(auto_cli(AUGMENT_COMMANDS))"
)


def _run(*args: object) -> int:
    """Return the exit status."""
    try:
        auto_cli({**AUGMENT_COMMANDS}, args=[str(arg) for arg in args], prog="prag augment")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def source(tmp_path: Path, documents: list[Document]) -> Path:
    file = tmp_path / "documents.jsonl"
    write_records(file, documents)
    return file


def _ids(file: Path) -> list[str]:
    return [record.document_id for record in read_records(file, Augmentation)]


def test_template_writes_beside_the_documents_once(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("template", source, "--num_qas", 2) == 0
    output = source.with_name("augmentations.jsonl")
    expected = f"5 documents: 5 augmented\naugmentations are in {output}\n"
    assert capsys.readouterr().out == expected
    before = output.read_bytes()
    records = list(read_records(output, Augmentation))
    assert [len(record.qas) for record in records] == [2] * 5
    assert [len(record.rewrites) for record in records] == [1] * 5
    # The folder stands for the documents in it.
    assert _run("template", source.parent, "--num_qas", 2) == 0
    assert capsys.readouterr().out.startswith(
        "5 documents: 5 augmented, 5 of them before; there was nothing to do\n"
    )
    assert output.read_bytes() == before


def test_the_settings_of_a_file_cannot_change(source: Path) -> None:
    assert _run("template", source) == 0
    with pytest.raises(ValueError, match="num_qas was 3 and is 2"):
        _run("template", source, "--num_qas", 2)


def test_endpoint_finds_the_model_and_reports_what_failed(
    source: Path, server: ChatServerDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    # Of the second document: the list twice, and each of three single pairs twice.
    server.script.extend([obey, obey, *[say("no")] * 8])
    output = source.with_name("out") / "a.jsonl"
    args = ("--url", server.url, "--output", output, "--max_attempts", 2, "--concurrency", 1)
    assert _run("endpoint", source, *args) == 3
    out = capsys.readouterr().out
    assert out.startswith("5 documents: 4 augmented, 1 failed\n17 requests, 8 answers of no use, ")
    assert out.endswith(f"the reasons are in {output.with_name('a.failed.jsonl')}\n")
    made = {record.document_id: record for record in read_records(output, Augmentation)}
    assert sorted(made) == ["d0", "d1", "d2", "d3", "d4"]
    # The rewrite of the one that failed is kept.
    assert (len(made["d1"].rewrites), made["d1"].qas) == (1, [])
    settings = json.loads(output.with_name("a.settings.json").read_text())
    assert settings["model"] == "tiny"


def test_one_model_asks_and_another_answers_and_what_is_dropped_is_recorded(
    source: Path, server: ChatServerDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(source, [Document(id="a", text="Ada was born in London. She left at 30.")])
    pair = {"question": "Where was Ada born?", "answer": "Rome", "full_answer": "In Rome."}
    asked = {**pair, "question": "When did Ada leave?"}
    questions = source.with_name("questions.jsonl")
    made = {"document_id": "a", "rewrites": [], "qas": [pair, asked]}
    questions.write_text(json.dumps(made) + "\n")
    said = ["London", "in 1850", "Ada has been in London.", "How tall was Ada?", "unanswerable"]
    server.script.extend(map(say, said))
    args = ["--url", server.url, "--concurrency", 1, "--num_rewrites", 0, "--max_attempts", 1]
    kinds = ["--num_implications", 1, "--num_unanswerable", 1, "--questions", questions]
    assert _run("endpoint", source, *args, *kinds) == 0
    output = source.with_name("augmentations.jsonl")
    (found,) = read_records(output, Augmentation)
    assert [(qa.question, qa.answer) for qa in found.qas] == [("Where was Ada born?", "London")]
    assert found.rewrites == ["Ada has been in London."]
    assert found.unanswerable == ["How tall was Ada?"]
    (dropped,) = output.with_name("augmentations.dropped.jsonl").read_text().splitlines()
    assert json.loads(dropped) == {
        "document_id": "a",
        "part": "pair 2",
        "reason": "the answer names 1850, which is not in the document",
        "text": "When did Ada leave? in 1850",
    }
    printed = capsys.readouterr().out
    assert "1 document: 1 augmented, 1 in part\n5 requests" in printed
    assert (
        f"what documents do not say is in {output.with_name('augmentations.dropped.jsonl')}\n"
        in (printed)
    )
    # Other questions are other settings.
    questions.write_text(json.dumps({**made, "qas": [pair]}) + "\n")
    with pytest.raises(ValueError, match=r"questions was '.*' and is"):
        _run("endpoint", source, *args, *kinds)


def test_without_a_server_nothing_is_begun(source: Path) -> None:
    with pytest.raises(ConnectionError, match="no language model answers"):
        _run("endpoint", source, "--url", "http://127.0.0.1:1/v1", "--model", "m")
    assert list(source.parent.iterdir()) == [source]


def test_without_httpx_it_is_said_what_to_install(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'prag-lightning\[endpoint\]'"):
        _run("endpoint", source)


def test_after_a_failed_augmentation_any_other_way_is_free(
    source: Path, base_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("transformers", source, "--model", base_dir) == 3
    capsys.readouterr()
    assert _run("template", source) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("5 documents: 5 augmented\n")
    assert "was begun by 'transformers', and not by 'template', and finished" in printed.err
    with pytest.raises(ValueError, match="made by 'template', and not by 'transformers'"):
        _run("transformers", source, "--model", base_dir)


def test_an_edited_document_is_made_anew_and_said(
    source: Path, documents: list[Document], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run("template", source, "--num_qas", 2) == 0
    documents[2] = documents[2].model_copy(update={"text": "Bo was born in Rome. He left in 90."})
    write_records(source, documents)
    capsys.readouterr()
    assert _run("template", source, "--num_qas", 2) == 0
    assert "4 of them before, 1 anew, for its text has changed" in capsys.readouterr().out
    file = source.with_name("augmentations.jsonl")
    made = {record.document_id: record for record in read_records(file, Augmentation)}
    assert "Rome" in made["d2"].rewrites[0]
    assert len(_ids(file)) == 5


def test_fewer_pairs_than_wanted_are_kept_and_said(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(source, [Document(id="a", text="Ada was born in London. She left.")])
    assert _run("template", source) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 document: 1 augmented, 1 in part\n")
    assert "the reasons are in" in out
    (made,) = read_records(source.with_name("augmentations.jsonl"), Augmentation)
    assert len(made.qas) == 2


def test_a_class_of_ones_own_is_found_in_the_working_directory(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_augmenters.py").write_text(
        "from prag_lightning.augmentation.base import Augmenter\n"
        "from prag_lightning.documents.records import Augmentation\n"
        "class Loud(Augmenter):\n"
        "    def __init__(self, times: int = 1):\n"
        "        self.times = times\n"
        "    def augment(self, documents):\n"
        "        for one in documents:\n"
        "            rewrites = [one.text.upper()] * self.times\n"
        "            yield Augmentation(document_id=one.id, rewrites=rewrites, qas=[])\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    args = ("class", source, "my_augmenters.Loud", "--init_args.times")
    assert _run(*args, 2) == 0
    made = list(read_records(source.with_name("augmentations.jsonl"), Augmentation))
    assert [len(one.rewrites) for one in made] == [2] * 5
    with pytest.raises(ValueError, match="times was 2 and is 3"):
        _run(*args, 3)


@pytest.mark.parametrize("way", ["template", "transformers", "endpoint", "class"])
def test_the_help_says_something_of_every_setting(
    way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(way, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    for match in re.finditer(r" --([\w.]+) [A-Z_{][^ ]* (\S+)", text):
        assert not match[2].startswith(("(", "--")), match[0]


@pytest.mark.parametrize("rank", [0, 1], ids=["first", "once the second of several"])
def test_transformers_asks_a_local_model(
    source: Path,
    base_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
) -> None:
    # What an earlier Trainer of several processes leaves behind in this one.
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    # The prompts are too long for it, which it says of each.
    assert _run("transformers", source, "--model", base_dir) == 3
    assert capsys.readouterr().out.startswith("5 documents: 5 failed\naugmentations are in")
    failures = source.with_name("augmentations.failed.jsonl").read_text().splitlines()
    assert len(failures) == 5
    assert "leaves no room for 128 new ones of the model's 512" in failures[0]


def test_two_documents_with_one_id_are_refused(source: Path) -> None:
    write_records(source, [Document(id="a", text="One."), Document(id="a", text="Two.")])
    with pytest.raises(ValueError, match="'a' stands for two different documents"):
        _run("template", source)


def test_a_word_for_a_number_is_refused(source: Path) -> None:
    assert _run("template", source, "--num_qas", "some") == 2


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.jsonl: no such file"):
        _run("template", tmp_path / "none.jsonl")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; import prag_lightning.cli.augment; "
        "heavy = {'torch', 'transformers', 'lightning', 'httpx', 'pydantic'}; "
        "print(sorted(heavy & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"[]\n"


def test_killed_at_any_line_it_goes_on_and_writes_no_document_twice(
    source: Path, server: ChatServerDouble
) -> None:
    whole = source.with_name("whole.jsonl")
    _run("endpoint", source, "--url", server.url, "--output", whole)
    output = source.with_name("killed.jsonl")
    command = ["endpoint", str(source), "--url", server.url, "--output", str(output)]
    stalled = False

    def stall(handler: Handler, body: dict[str, Any]) -> None:
        nonlocal stalled
        stalled = True
        time.sleep(0.5)

    for num_lines in (1, 3):
        stalled = False
        num_before = len(_ids(output)) if output.exists() else 0
        server.script.extend([obey] * 2 * (num_lines - num_before))
        server.otherwise = stall
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *command, "--concurrency", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not stalled:
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert len(_ids(output)) == num_lines
    server.otherwise = obey
    assert _run(*command) == 0
    assert sorted(output.read_text().splitlines()) == sorted(whole.read_text().splitlines())


def test_a_server_that_goes_away_leaves_what_is_done(
    source: Path, server: ChatServerDouble
) -> None:
    def leave(handler: Handler, body: dict[str, Any]) -> None:
        server.on_models = server.otherwise = send({}, status=401)
        obey(handler, body)

    server.script.extend([obey, leave])
    args = ("--url", server.url, "--concurrency", 1)
    with pytest.raises(ValueError, match="refused the API key"):
        _run("endpoint", source, *args)
    assert _ids(source.with_name("augmentations.jsonl")) == ["d0"]
    server.on_models, server.otherwise = send({"data": [{"id": "tiny"}]}), obey
    assert _run("endpoint", source, *args) == 0
    assert sorted(_ids(source.with_name("augmentations.jsonl"))) == [f"d{n}" for n in range(5)]


@pytest.mark.slow
def test_two_processes_say_together_what_one_says_alone(source: Path, tmp_path: Path) -> None:
    base = tiny_base()
    base.config.max_position_embeddings = 4096
    base.save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    script = tmp_path / "augment.py"
    script.write_text(_PROGRAM)
    printed = []
    for num_processes in ("1", "2"):
        command = [sys.executable, str(script), "transformers", str(source)]
        options = ["--model", str(tmp_path / "model"), "--sampling.max_new_tokens", "12"]
        output = ["--output", str(tmp_path / f"{num_processes}.jsonl"), "--devices", num_processes]
        done = subprocess.run(
            [*command, *options, *output],
            env={**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 3, done.stderr
        # The first process alone speaks, and shows three answers of no use.
        assert sum(line.startswith("document ") for line in done.stderr.splitlines()) == 3
        assert all(re.match(r"document '|  |\d+ of", line) for line in done.stderr.splitlines())
        # The time and the name of the file differ.
        printed.append(done.stdout.rpartition(" written")[0])
    assert printed[0] == printed[1]
    alone, together = (
        sorted((tmp_path / f"{number}.failed.jsonl").read_text().splitlines()) for number in (1, 2)
    )
    assert len(alone) == 5
    assert alone == together
