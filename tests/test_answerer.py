"""Answers from Python and from ``prag ask`` and ``prag predict``, against ``prag test``."""

import json
import math
import os
import signal
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from rich.console import Console

from benchmarks import many_callers
from prag_lightning import Answerer, DocumentDataModule, ParametricRAG
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.warm_start import WarmStartSource
from prag_lightning.answering.answers import Answer
from prag_lightning.answering.from_run import read_run
from prag_lightning.answering.requests import AnswerMethod
from prag_lightning.answering.scoring import StrictScoring
from prag_lightning.cli.live_answers import ask_all
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Document, Question, read_records, write_records
from prag_lightning.evaluation.scores import Prediction

METHODS: list[AnswerMethod] = ["closed_book", "rag", "prag", "combine"]


def fit_or_test(command: str, base_dir: Path, folder: Path, root: Path, *more: str) -> int:
    words = [
        *(command, "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "3", "--model.lr", "0.003"),
        *("--model.max_new_tokens", "3", "--data.folder", str(folder), "--data.num_qas", "3"),
        *more,
    ]
    if command != "fit" and "--data.methods" not in more:
        words += ["--data.methods", f"[{','.join(METHODS)}]"]
    return main(words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of six people."""
    path = tmp_path_factory.mktemp("world")
    write_world(path, num_people=6)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, base_dir: Path, folder: Path) -> Path:
    """A run whose six documents are encoded and whose questions are answered."""
    root = tmp_path_factory.mktemp("run")
    assert fit_or_test("fit", base_dir, folder, root) == 0
    assert fit_or_test("test", base_dir, folder, root, "--evaluation.merge", "mean") == 0
    return root


@pytest.fixture(scope="module")
def partial_run(tmp_path_factory: pytest.TempPathFactory, base_dir: Path, folder: Path) -> Path:
    """A run with all six documents in its corpus, and only three of them encoded."""
    root = tmp_path_factory.mktemp("partial")
    fewer = root / "folder"
    write_world(fewer, num_people=6)
    write_records(fewer / "documents.jsonl", read_documents(folder)[:3])
    assert fit_or_test("fit", base_dir, fewer, root) == 0
    return root


def read_documents(folder: Path) -> list[Document]:
    return list(read_records(folder / "documents.jsonl", Document))


def read_questions(folder: Path) -> list[str]:
    return [q.question for q in read_records(folder / "questions.jsonl", Question)]


@pytest.fixture(scope="module")
def answerer(run: Path) -> Answerer:
    return Answerer.from_run(run)


@pytest.mark.parametrize("method", METHODS)
def test_the_answers_and_their_evidence_are_those_of_prag_test(
    answerer: Answerer, run: Path, folder: Path, method: AnswerMethod
) -> None:
    predictions = read_records(run / "predictions.jsonl", Prediction)
    expected = {p.question: p for p in predictions if p.method == method}
    answers = answerer.answer(read_questions(folder), method)
    assert [answer.question for answer in answers] == read_questions(folder)
    for answer in answers:
        prediction = expected[answer.question]
        assert answer.text == prediction.text
        assert answer.prediction == prediction.prediction
        assert answer.adapters == prediction.adapters
        assert answer.passages == prediction.passages
        assert bool(answer.adapters) == (method in ("prag", "combine"))
        assert bool(answer.passages) == (method in ("rag", "combine"))


def test_adapters_change_what_is_said(answerer: Answerer, folder: Path) -> None:
    questions = read_questions(folder)
    plain, merged = (answerer.answer(questions, m) for m in ("closed_book", "prag"))
    assert sum(a.text != b.text for a, b in zip(plain, merged, strict=True)) > len(questions) / 2


@pytest.mark.parametrize(("method", "without"), [("prag", "closed_book"), ("combine", "rag")])
def test_a_gate_that_is_open_merges_and_one_that_is_closed_answers_without_adapters(
    answerer: Answerer, folder: Path, method: AnswerMethod, without: AnswerMethod
) -> None:
    asked = list(read_records(folder / "questions.jsonl", Question))[:8]

    def gated(name: AnswerMethod, merge: object) -> tuple[dict[str, str], set[float | None]]:
        batch = answerer.batches(asked, name)[0]
        answers, _ = answerer.answer_batch(batch, merge)
        weights = {evidence.weight for answer in answers for evidence in answer.adapters}
        return {answer.question_id: answer.text for answer in answers}, weights

    merged, _ = gated(method, "sum")
    plain, _ = gated(without, "sum")
    assert merged != plain
    assert gated(method, {"gate": {"rule": "sum", "least_without": 0.0}}) == (merged, {1.0})
    closed = {"gate": {"rule": "sum", "least_without": math.inf}}
    assert gated(method, closed) == (plain, {0.0})
    # Between the two, every question is answered in one of the two ways, and some in each.
    batch = answerer.batches(asked, method)[0]
    entropies = answerer.module.first_token_entropy(batch, None)
    limit = float(entropies.median())
    mixed, weights = gated(method, {"gate": {"rule": "sum", "least_without": limit}})
    assert weights == {0.0, 1.0}
    for question, entropy in zip(batch.questions, entropies.tolist(), strict=True):
        expected = merged if entropy >= limit else plain
        assert mixed[question.id] == expected[question.id]


def test_the_order_of_the_questions_changes_no_answer(answerer: Answerer, folder: Path) -> None:
    questions = read_questions(folder)
    forwards = {a.question: a.text for a in answerer.answer(questions)}
    backwards = {a.question: a.text for a in answerer.answer(questions[::-1])}
    assert forwards == backwards


def test_settings_come_from_the_run_unless_they_are_given(answerer: Answerer, run: Path) -> None:
    other = Answerer.from_run(run, merge="sum", top_k=2)
    question = read_questions(run_folder(run))[0]
    for one, weights in ((answerer, [1 / 3] * 3), (other, [1.0] * 2)):
        [answer] = one.answer([question])
        assert [e.weight for e in answer.adapters] == pytest.approx(weights)


def run_folder(run: Path) -> Path:
    return Path(read_run(run).data["folder"])


def test_a_document_without_an_adapter_is_named_and_left_out(
    partial_run: Path, folder: Path
) -> None:
    answerer = Answerer.from_run(partial_run)
    encoded = {document.id for document in read_documents(folder)[:3]}
    answers = answerer.answer(read_questions(folder))
    assert any(answer.missing for answer in answers)
    assert any(answer.adapters for answer in answers)
    for answer, found in zip(answers, answerer.retrieve(read_questions(folder)), strict=True):
        ids = {document.document_id for document in found}
        assert {e.document_id for e in answer.adapters} == ids & encoded
        assert {e.document_id for e in answer.missing} == ids - encoded


def test_adapters_that_started_elsewhere_are_refused(run: Path) -> None:
    settings = read_run(run)
    module = ParametricRAG(**settings.module)
    module.use_warm_start(WarmStartSource(seed=1))
    with pytest.raises(ValueError, match="warm_start: the store has"):
        Answerer(module, settings.store, DocumentDataModule(**settings.data))


def test_a_folder_in_which_nothing_was_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"fit\.yaml: no such file; `prag fit"):
        Answerer.from_run(tmp_path)


def test_a_retriever_of_the_run_is_made_as_the_trainer_makes_it(run: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((run / "test.yaml").read_text())
    name = "prag_lightning.retrieval.given.GivenRetriever"
    settings["data"]["retriever"] = {"class_path": name}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(settings))
    assert type(read_run(tmp_path).data["retriever"]()).__name__ == "GivenRetriever"
    assert type(read_run(run).data["retriever"]()).__name__ == "BM25Retriever"


def test_many_callers_are_timed_and_get_the_answers_that_each_gets_alone(
    run: Path, tmp_path: Path
) -> None:
    many_callers.run(run, num_questions=8, threads=(1, 4), memory=80, output=str(tmp_path / "x"))
    result = json.loads((tmp_path / "x").read_text())
    assert [row["name"] for row in result["rows"]] == ["1 at once", "4 at once"]
    assert all(0 < row["p50_seconds"] <= row["p95_seconds"] for row in result["rows"])
    assert result["differing"] == 0
    assert abs(result["kib_per_question"]) < result["mib_at_end"]


def test_ask_shows_each_method_s_answer_and_each_document_s_score_and_weight(
    run: Path, folder: Path, answerer: Answerer, capsys: pytest.CaptureFixture[str]
) -> None:
    question = read_questions(folder)[0]
    assert main(["ask", question, "--run", str(run)]) == 0
    out = capsys.readouterr().out
    assert all(f"│ {method}" in out for method in METHODS)
    [answer] = answerer.answer([question])
    for evidence in answer.adapters:
        line = next(line for line in out.splitlines() if evidence.document_id in line)
        assert f"{evidence.score:.2f}" in line
        assert "0.333" in line


def test_ask_goes_on_until_there_is_no_more_question(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["Who?", "", "Where?", "exit"])
    monkeypatch.setattr("builtins.input", lambda *_: next(lines))
    words = ["ask", "--interactive", "--run", str(run), "--methods", "[closed_book]"]
    assert main(words) == 0
    assert capsys.readouterr().out.count("│ closed_book") == 2
    assert next(lines, None) is None


@pytest.fixture
def own_ctrl_c() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which a run in this process may have replaced."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("own_ctrl_c")
def test_a_session_goes_on_after_ctrl_c_which_gives_up_the_present_question_only(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["Who?", "interrupt", "Where?", "exit"])

    def type_line(*_: object) -> str:
        line = next(lines)
        if line == "interrupt":
            raise KeyboardInterrupt
        return line

    extract = StrictScoring.extract
    interrupts = iter([True, False])

    def interrupt_first(*what: Any) -> str:
        if next(interrupts):
            # To the process, whose main thread waits for the answer.
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return extract(*what)

    monkeypatch.setattr("builtins.input", type_line)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(StrictScoring, "extract", interrupt_first)
    # Without a question and without --interactive, on a terminal.
    assert main(["ask", "--run", str(run), "--methods", "[closed_book]"]) == 0
    out = capsys.readouterr().out
    assert "given up" in out
    assert "Ctrl-D or `exit` ends the session" in out
    assert out.count("│ closed_book") == 1
    assert next(lines, None) is None


def test_on_a_terminal_all_answers_are_shown_while_they_are_generated(
    answerer: Answerer, folder: Path
) -> None:
    [question, *_] = read_questions(folder)
    terminal, file = (
        Console(file=StringIO(), force_terminal=is_terminal) for is_terminal in (True, False)
    )
    shown, piped = (ask_all(console, answerer, question, METHODS) for console in (terminal, file))
    assert shown == piped == [answerer.answer([question], method)[0] for method in METHODS]
    assert cast(StringIO, file.file).getvalue() == ""
    out = cast(StringIO, terminal.file).getvalue()
    assert all(method in out for method in METHODS)


@pytest.mark.parametrize("words", [["ask"], ["ask", " "]])
def test_ask_without_a_question_says_what_to_give(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "give one in quotes, or --interactive" in capsys.readouterr().err


def test_ask_without_a_run_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ask", "Who?"]) == 2
    assert "there is no run in 'runs' yet" in capsys.readouterr().err


def test_ask_says_that_nothing_was_found(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "Qwertz?", "--run", str(run), "--methods", "[closed_book]"]) == 0
    assert "no document was found" not in capsys.readouterr().out
    assert main(["ask", "Qwertz?", "--run", str(run), "--methods", "[prag]"]) == 0
    assert "no document was found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ("Who?", "one question, 'Who\\?', was given; give a list"),
        (["Who?", " "], "number 2 is empty"),
        (["Who is Ad\udce9?"], "number 1 has half of a character, '.udce9', at place 10; write"),
    ],
)
def test_what_is_no_list_of_questions_is_refused(
    answerer: Answerer, questions: str | list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        answerer.answer(questions)


def test_from_text_files_to_answers_each_step_finds_what_the_last_one_left(
    base_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    for name, city in {"Ada": "Paris", "Bo": "Oslo", "Cy": "Rome"}.items():
        Path("texts", f"{name}.txt").write_text(f"{name} was born in {city}.")
    assert main(["data", "convert", "text", "texts", "mine"]) == 0
    assert main(["augment", "template", "mine", "--num_qas", "1"]) == 0
    assert main(["index", "bm25", "mine"]) == 0
    fit = ["fit", "--data.folder", "mine", "--model.base", str(base_dir), "--model.num_slots", "3"]
    assert main([*fit, "--trainer.accelerator", "cpu"]) == 0
    capsys.readouterr()
    assert main(["ask", "Where was Bo born?", "--methods", "[prag]", "--top_k", "1"]) == 0
    assert "Bo was born in Oslo." in capsys.readouterr().out
    # It is the index that `prag index` built.
    assert not Path("runs/mine/index").exists()
    # What the run names by paths is found from any folder.
    monkeypatch.chdir("texts")
    run = ["--run", str(tmp_path / "runs/mine")]
    assert main(["ask", "Where was Bo born?", "--methods", "[prag]", "--top_k", "1", *run]) == 0
    assert "Bo was born in Oslo." in capsys.readouterr().out


def test_documents_that_were_added_changed_and_deleted_are_seen_after_a_refresh(
    tmp_path: Path,
    base_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    fit = ["fit", "--data.folder", "mine", "--model.base", str(base_dir), "--model.num_slots", "3"]

    def encode(**cities: str) -> None:
        for name, city in cities.items():
            Path("texts", f"{name}.txt").write_text(f"{name} was born in {city}.")
        assert main(["data", "convert", "text", "texts", "mine"]) == 0
        assert main(["augment", "template", "mine", "--num_qas", "1"]) == 0
        assert main([*fit, "--trainer.accelerator", "cpu"]) == 0

    def found(answerer: Answerer, name: str) -> tuple[str, list[str]]:
        question = f"Where was {name} born?"
        ids = [one.document_id for one in answerer.retrieve([question])[0]]
        (answer,) = answerer.answer([question])
        assert answer.missing == []
        return ids[0], [one.document_id for one in answer.adapters]

    encode(Ada="Paris", Bo="Oslo")
    answerer = Answerer.from_run("runs/mine", top_k=1)
    assert found(answerer, "Bo") == ("Bo.txt", ["Bo.txt"])
    Path("texts/Ada.txt").unlink()
    encode(Cy="Rome", Bo="Bergen")
    assert answerer.answer(["Where was Bo born?"], "rag")[0].passages
    answerer.refresh()
    assert found(answerer, "Cy") == ("Cy.txt", ["Cy.txt"])
    assert found(answerer, "Bo") == ("Bo.txt", ["Bo.txt"])
    assert answerer.retrieve(["Ada Paris"]) == [[]]
    assert "Bergen" in answerer.documents["Bo.txt"].text
    answerer.close()
    capsys.readouterr()


def test_a_run_whose_adapters_are_in_an_object_store_answers_from_there_and_encodes_there(
    partial_run: Path, folder: Path, tmp_path: Path
) -> None:
    url = f"memory:/{tmp_path}/store"
    main(["store", "export", str(partial_run / "adapters"), url])
    settings = yaml.safe_load((partial_run / "fit.yaml").read_text())
    settings["model"]["store"] = url
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(settings))
    questions = read_questions(folder)[:4]
    with Answerer.from_run(tmp_path) as remote, Answerer.from_run(partial_run) as local:
        assert remote.store.files.place == url
        assert [a.text for a in remote.answer(questions)] == [
            a.text for a in local.answer(questions)
        ]
        missing = next(d.id for d in read_documents(folder) if d.id not in local.store)
    question = f"Where was {missing.replace('-', ' ')} born?"
    words = ["ask", question, "--run", str(tmp_path), "--methods", "[prag]", "--encode-missing"]
    assert main(words) == 0
    with open_store(url, mode="read") as store:
        assert missing in store
    with open_store(partial_run / "adapters", mode="read") as store:
        assert missing not in store


def test_documents_encoded_on_the_spot_get_the_adapters_that_a_run_gives_them(
    partial_run: Path, run: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = (partial_run / "fit.yaml").read_text()
    last = read_documents(folder)[-1].id
    question = f"Where was {last.replace('-', ' ')} born?"
    words = ["ask", question, "--run", str(partial_run), "--methods", "[prag]"]
    assert main(words) == 0
    assert "no adapter" in capfd.readouterr().out
    assert main([*words, "--encode-missing"]) == 0
    assert "no adapter" not in capfd.readouterr().out
    with open_store(partial_run / "adapters", mode="read") as store:
        found = store.get_many([last])
    with open_store(run / "adapters", mode="read") as store:
        expected = store.get_many([last])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (partial_run / "fit.yaml").read_text() == settings


def test_predict_answers_questions_without_answers_as_test_answers_them(
    base_dir: Path, run: Path, folder: Path, tmp_path: Path
) -> None:
    questions = read_records(folder / "questions.jsonl", Question)
    bare = [Question(id=q.id, question=q.question) for q in questions]
    write_records(tmp_path / "bare.jsonl", bare)
    scores = (run / "scores.json").read_bytes()
    more = ["--data.questions", str(tmp_path / "bare.jsonl"), "--evaluation.merge", "mean"]
    # Without a choice of methods it takes those that need no gold documents.
    words = ["--data.methods", "null"]
    assert fit_or_test("predict", base_dir, folder, run, *more, *words) == 0
    answers = {(a.method, a.question_id): a for a in read_records(run / "answers.jsonl", Answer)}
    expected = {
        (p.method, p.question_id): p for p in read_records(run / "predictions.jsonl", Prediction)
    }
    assert answers.keys() == expected.keys()
    for key, answer in answers.items():
        assert (answer.text, answer.adapters) == (expected[key].text, expected[key].adapters)
    assert '"em"' not in (run / "answers.jsonl").read_text()
    assert (run / "scores.json").read_bytes() == scores


def test_predict_refuses_a_method_that_needs_gold_documents_which_nobody_named(
    base_dir: Path,
    run: Path,
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_records(tmp_path / "bare.jsonl", [Question(id="q1", question="Who?")])
    more = ["--data.questions", str(tmp_path / "bare.jsonl"), "--data.methods", "[own]"]
    assert fit_or_test("predict", base_dir, folder, run, *more) == 2
    assert "method 'own' needs each question's gold documents" in capfd.readouterr().err
