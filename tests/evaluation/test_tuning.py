"""Choosing a merge rule, on a run of the embedded world with the embedded base."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from prag_lightning import Answerer
from prag_lightning.answering.merge_choice import (
    MergeChoice,
    RuleSpec,
    TriedRule,
    read_choice,
    rule_text,
    write_choice,
)
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Question, read_records
from prag_lightning.evaluation.scores import Prediction
from prag_lightning.evaluation.tuning import DEFAULT_RULES, split_by_document, tune_merge

RULES = [
    "mean",
    "anchored",
    {"gate": {"rule": {"score": {"temperature": 2}}, "least_without": 1.0}},
    {"centered": {"share": 0.5}},
]


def run_trainer(command: str, root: Path, *more: str) -> int:
    words = ["--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)]
    model = ["--model.lora.rank", "8", "--model.lr", "2e-3", "--model.max_new_tokens", "6"]
    data = ["--data.folder", str(root / "world"), "--model.num_slots", "4"]
    return main([command, *words, *model, *data, "--data.methods", "[prag]", *more])


def read_questions(file: Path) -> list[Question]:
    return list(read_records(file, Question))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has encoded four people."""
    root = tmp_path_factory.mktemp("run")
    write_world(root / "world", num_people=4)
    assert run_trainer("fit", root) == 0
    return root


@pytest.fixture(scope="module")
def tuned(run: Path) -> MergeChoice:
    """What ``prag tune`` chose for it."""
    options = ["--run", str(run), "--share", "0.5", "--rules", json.dumps(RULES)]
    assert main(["tune", *options]) == 0
    choice = read_choice(run)
    assert choice is not None
    return choice


def test_each_rule_scores_what_prag_test_gives_it_and_the_best_is_chosen(
    run: Path, tuned: MergeChoice
) -> None:
    assert [one.merge for one in tuned.tried] == RULES
    f1 = [one.scores["all"]["f1"] for one in tuned.tried]
    assert len(set(f1)) > 1
    assert tuned.merge == RULES[f1.index(max(f1))]
    validation = run / "tuning" / "validation_questions.jsonl"
    asked = read_questions(validation)
    assert tuned.question_ids == [question.id for question in asked]
    assert set(tuned.tried[0].scores) == {"all", *(str(question.type) for question in asked)}
    options = ["--data.questions", str(validation), "--evaluation.merge", "mean"]
    assert run_trainer("test", run, *options) == 0
    scores = json.loads((run / "scores.json").read_text())
    found = {row["type"]: {name: row[name] for name in ("f1", "em", "recall")} for row in scores}
    assert found.keys() == tuned.tried[0].scores.keys()
    for kind, means in tuned.tried[0].scores.items():
        assert means == pytest.approx(found[kind], abs=1e-6)


def test_a_test_takes_the_choice_and_refuses_the_questions_that_made_it(
    run: Path, tuned: MergeChoice, capsys: pytest.CaptureFixture[str]
) -> None:
    others = run / "tuning" / "test_questions.jsonl"
    assert run_trainer("test", run, "--data.questions", str(others)) == 0
    settings = yaml.safe_load((run / "test.yaml").read_text())
    assert settings["evaluation"]["merge"] == tuned.merge
    predictions = list(read_records(run / "predictions.jsonl", Prediction))
    assert {p.question_id for p in predictions}.isdisjoint(tuned.question_ids)
    [answer] = Answerer.from_run(run).answer([predictions[0].question])
    assert answer.adapters == predictions[0].adapters
    capsys.readouterr()
    assert run_trainer("test", run) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{len(tuned.question_ids) - 1} more chose this run's merge rule" in error
    assert "give a rule with --evaluation.merge" in error
    # Of a rule that was not chosen by them, they say what they say of any.
    assert run_trainer("test", run, "--evaluation.merge", "sum") == 0
    assert main(["report", str(run), "--out", str(run / "report.html")]) == 0
    page = (run / "report.html").read_text()
    assert "How the merge rule was chosen" in page
    assert "{centered: {share: 0.5}}" in page


def test_a_rule_with_an_infinite_limit_is_read_as_it_was_written(tmp_path: Path) -> None:
    rule: RuleSpec = {"gate": {"rule": "mean", "least_without": math.inf}}
    tried = [TriedRule(merge=rule, scores={})]
    choice = MergeChoice(merge=rule, method="prag", metric="f1", tried=tried, question_ids=[])
    write_choice(tmp_path, choice)
    assert read_choice(tmp_path) == choice
    assert rule_text(rule) == "{gate: {least_without: .inf, rule: mean}}"


def test_the_files_of_a_split_are_the_runs_questions(run: Path, tuned: MergeChoice) -> None:
    parts = [
        read_questions(run / "tuning" / f"{n}_questions.jsonl") for n in ("validation", "test")
    ]
    asked = read_questions(run / "world" / "questions.jsonl")
    assert sorted(q.id for part in parts for q in part) == sorted(q.id for q in asked)
    documents = [{name for q in part for name in q.document_ids} for part in parts]
    assert documents[0].isdisjoint(documents[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--questions", "world/questions.jsonl"], "which this run is tested on; choose by other"),
        (["--rules", "[anchord]"], "there is no merge rule 'anchord'; did you mean 'anchored'"),
        (["--rules", "[{falling: {weights: []}}]"], "give at least one number"),
        (["--questions", "nothing.jsonl"], "nothing.jsonl"),
        (["--share", "1"], "cannot be split with 1 of them in one part"),
    ],
)
def test_what_cannot_choose_is_refused_in_one_line(
    run: Path,
    options: Sequence[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(run)
    assert main(["tune", "--run", ".", *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_from_python_any_questions_and_rules_can_be_tried(run: Path) -> None:
    answerer = Answerer.from_run(run)
    asked = read_questions(run / "world" / "questions.jsonl")[:4]
    lines: list[str] = []
    choice = tune_merge(answerer, asked, ["sum", "anchored"], method="own", tell=lines.append)
    # Of rules that do the same, the first; the warm start adds nothing.
    assert choice.merge == "sum"
    assert [line.partition(": f1")[0] for line in lines] == ["1 of 2: sum", "2 of 2: anchored"]
    with pytest.raises(ValueError, match="there is nothing to choose by"):
        tune_merge(answerer, [], ["sum"])
    with pytest.raises(ValueError, match="has no 'answers'"):
        tune_merge(answerer, [Question(id="1", question="Who?")], ["sum"])


def test_a_damaged_choice_is_named(tmp_path: Path) -> None:
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning" / "choice.json").write_text('{"merge": ')
    with pytest.raises(ValueError, match=r"choice.json: is damaged .* run `prag tune`"):
        read_choice(tmp_path)


def test_questions_that_share_a_document_directly_or_not_stay_together() -> None:
    def asked(number: int, *documents: str) -> Question:
        return Question(id=str(number), question="Who?", document_ids=list(documents))

    chain = [asked(1, "a", "b"), asked(2, "b", "c"), asked(3, "d"), asked(4, "c"), asked(5, "d")]
    questions = [*chain, asked(6), asked(7)]
    parts = [split_by_document(questions, 0.4, seed) for seed in range(20)]
    groups = [{"1", "2", "4"}, {"3", "5"}, {"6"}, {"7"}]
    for first, second in parts:
        ids = {question.id for question in first}
        assert all(group <= ids or group.isdisjoint(ids) for group in groups)
        assert [q.id for q in questions if q not in first] == [q.id for q in second]
    assert len({tuple(q.id for q in first) for first, _ in parts}) > 3
    assert split_by_document(questions, 0.4, 7) == split_by_document(questions, 0.4, 7)
    with pytest.raises(ValueError, match="cannot be split with"):
        split_by_document(chain[:2], 0.5)


def test_the_default_rules_are_all_different() -> None:
    texts = [json.dumps(rule) for rule in DEFAULT_RULES]
    assert len(set(texts)) == len(texts) > 10
