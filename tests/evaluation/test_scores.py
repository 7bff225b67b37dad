import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from prag_lightning.answering.answers import Answer, Evidence
from prag_lightning.answering.scoring import AnswerScores, StrictScoring
from prag_lightning.documents.records import Question, read_records, write_records
from prag_lightning.evaluation.scores import (
    EvaluationScores,
    Prediction,
    score_answer,
    score_table,
    summarize,
)

PARIS = Question(
    id="1", question="Where?", answers=["Paris", "Paris, France"], document_ids=["e"], type="place"
)
YEAR = Question(id="2", question="When?", answers=["1984"], type="year")
BO = Question(id="3", question="Who?", answers=["Bo Li"])


def said(
    method: str,
    question: Question,
    text: str,
    nll: float = 1.0,
    seconds: float = 0.5,
    counts_in_all: bool = True,
) -> Prediction:
    answer = Answer(
        method=method,
        question_id=question.id,
        question=question.question,
        text=text,
        prediction=StrictScoring().extract(text),
        passages=[Evidence(document_id="d", score=2.0)],
        adapters=[Evidence(document_id="e", score=1.0, weight=0.5)],
        missing=[],
    )
    return score_answer(answer, question, nll, seconds, counts_in_all, StrictScoring())


PREDICTIONS = [
    said("rag", PARIS, " Paris.", 0.5, seconds=0.25),
    said("rag", YEAR, " 1985.", 2.5, seconds=1.0),
    said("rag", BO, " Bo Xu.", 3.0, seconds=0.25),
    said("own", PARIS, " Rome.", 4.0, seconds=0.1),
]


def test_a_prediction_holds_the_raw_text_what_was_cut_from_it_and_its_scores() -> None:
    prediction = said("rag", PARIS, " Paris, Texas.\nNo.", 0.5, 2.0)
    assert prediction.model_dump(exclude_none=True) == {
        "method": "rag",
        "question_id": "1",
        "type": "place",
        "counts_in_all": True,
        "question": "Where?",
        "answers": ["Paris", "Paris, France"],
        "document_ids": ["e"],
        "text": " Paris, Texas.\nNo.",
        "prediction": "Paris, Texas",
        "em": 0.0,
        "f1": pytest.approx(2 / 3),
        "precision": 0.5,
        "recall": 1.0,
        "answer_nll": 0.5,
        "seconds": 2.0,
        "passages": [{"document_id": "d", "score": 2.0}],
        "adapters": [{"document_id": "e", "score": 1.0, "weight": 0.5}],
        "missing": [],
    }


def test_a_prediction_without_type_and_likelihood_is_read_as_it_was_written(
    tmp_path: Path,
) -> None:
    bare = said("rag", BO, " Bo.", math.nan)
    assert (bare.type, bare.answer_nll) == (None, None)
    write_records(tmp_path / "predictions.jsonl", [bare])
    assert list(read_records(tmp_path / "predictions.jsonl", Prediction)) == [bare]


def test_a_question_without_an_answer_to_compare_with_is_refused() -> None:
    with pytest.raises(ValueError, match="has no accepted answer to compare with"):
        said("rag", Question(id="4", question="Why?"), " So.")


def test_scores_are_the_means_of_each_method_over_all_questions_and_over_each_type() -> None:
    rows = summarize(PREDICTIONS)
    assert [(row.method, row.type, row.num_questions) for row in rows] == [
        ("rag", "all", 3),
        ("rag", "place", 1),
        ("rag", "year", 1),
        ("own", "all", 1),
        ("own", "place", 1),
    ]
    everything = rows[0]
    assert everything.em == pytest.approx(1 / 3)
    assert everything.f1 == pytest.approx((1 + 0 + 0.5) / 3)
    assert everything.precision == pytest.approx((1 + 0 + 0.5) / 3)
    assert everything.recall == pytest.approx((1 + 0 + 0.5) / 3)
    assert everything.answer_nll == pytest.approx(2.0)
    assert (rows[1].em, rows[2].em, rows[4].em) == (1.0, 0.0, 0.0)
    assert rows[3].answer_nll == 4.0


def test_the_speed_is_questions_by_the_seconds_that_they_took() -> None:
    speeds = {(r.method, r.type): r.questions_per_second for r in summarize(PREDICTIONS)}
    assert speeds == {
        ("rag", "all"): pytest.approx(2.0),
        ("rag", "place"): pytest.approx(4.0),
        ("rag", "year"): pytest.approx(1.0),
        ("own", "all"): pytest.approx(10.0),
        ("own", "place"): pytest.approx(10.0),
    }


def test_the_order_of_the_predictions_changes_no_score() -> None:
    forwards, backwards = summarize(PREDICTIONS), summarize(PREDICTIONS[::-1])
    assert {(r.method, r.type): r for r in forwards} == {(r.method, r.type): r for r in backwards}


def test_scores_of_batches_are_those_of_all_predictions_together() -> None:
    scores = EvaluationScores()
    for prediction in PREDICTIONS:
        scores.update([prediction])
    assert scores.compute() == summarize(PREDICTIONS)


def test_types_come_in_one_order_for_every_method() -> None:
    backwards = [*PREDICTIONS[:3], said("own", YEAR, " 1984."), PREDICTIONS[3]]
    kinds = [(row.method, row.type) for row in summarize(backwards)]
    assert kinds == [(m, t) for m in ("rag", "own") for t in ("all", "place", "year")]


def test_metrics_are_named_by_method_type_and_score() -> None:
    scores = EvaluationScores()
    scores.update([*PREDICTIONS, said("prag", BO, " Bo Li.", math.nan)])
    metrics = scores.means()
    assert metrics["rag/em"] == pytest.approx(1 / 3)
    assert metrics["rag/place/nll"] == 0.5
    assert metrics["own/place/em"] == 0.0
    # A likelihood that no question has is not logged as NaN.
    assert {name for name in metrics if name.startswith("prag/")} == {
        f"prag/{name}" for name in ("em", "f1", "precision", "recall")
    }


def test_each_prediction_is_scored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[str] = []

    def count(self: object, prediction: str, answers: object) -> AnswerScores:
        scored.append(prediction)
        return AnswerScores(0.25, 0.5, 0.75, 1.0)

    monkeypatch.setattr(StrictScoring, "score", count)
    predictions = [said("rag", PARIS, " Paris."), said("rag", YEAR, " 1984.")]
    assert summarize(predictions)[0].em == 0.25
    assert scored == ["Paris", "1984"]


def test_a_type_named_like_the_total_is_not_counted_into_it_twice() -> None:
    odd = PARIS.model_copy(update={"type": "all"})
    rows = summarize([said("rag", odd, " Paris."), said("rag", YEAR, " 1985.")])
    assert rows[0].num_questions == 2


def test_what_does_not_count_in_all_counts_in_its_type_only() -> None:
    # The first two questions of a file whose third is the second of its type.
    rome = Question(id="4", question="Where to?", answers=["Rome"], type="place")
    rows = summarize(
        [
            said("rag", PARIS, " Oslo."),
            said("rag", YEAR, " 1984."),
            said("rag", rome, " Rome.", counts_in_all=False),
        ]
    )
    assert {row.type: (row.num_questions, row.em) for row in rows} == {
        "all": (2, 0.5),
        "place": (2, 0.5),
        "year": (1, 1.0),
    }


def test_no_predictions_are_no_scores() -> None:
    assert summarize([]) == []


def test_the_table_names_each_method_once_and_shows_every_score() -> None:
    table = score_table(summarize(PREDICTIONS))
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = [line.replace("│", " ").split() for line in console.file.getvalue().splitlines()]
    rows = [words for words in lines if {"all", "place", "year"} & set(words)]
    assert rows == [
        ["rag", "all", "3", "0.333", "0.500", "0.500", "0.500", "2.000", "2"],
        ["place", "1", "1.000", "1.000", "1.000", "1.000", "0.500", "4"],
        ["year", "1", "0.000", "0.000", "0.000", "0.000", "2.500", "1"],
        ["own", "all", "1", "0.000", "0.000", "0.000", "0.000", "4.000", "10"],
        ["place", "1", "0.000", "0.000", "0.000", "0.000", "4.000", "10"],
    ]


def shown(*predictions: Prediction) -> str:
    """The table of some predictions as a terminal of 120 columns shows it."""
    console = Console(file=io.StringIO(), width=120)
    console.print(score_table(summarize(predictions)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("kind", ["[/red]", "[bold]x", "[down_proj]"])
def test_brackets_in_a_type_are_shown_as_they_are(kind: str) -> None:
    assert kind in shown(said("rag", PARIS.model_copy(update={"type": kind}), " Paris."))


def test_a_terminal_obeys_nothing_in_a_type() -> None:
    hostile = PARIS.model_copy(update={"type": "\x1b[2Jpl\x07ace"})
    text = shown(said("rag", hostile, " Paris."))
    assert "place" in text
    assert "\x1b" not in text


def test_a_slow_method_has_a_speed() -> None:
    assert "0.2\n" in shown(said("rag", BO, " Bo.", seconds=5.0)).replace(" ", "")


def test_an_empty_column_of_likelihoods_is_explained_and_a_full_one_is_not() -> None:
    assert "NLL is empty where" in shown(said("rag", BO, " Bo.", math.nan))
    assert "NLL is empty where" not in shown(said("rag", BO, " Bo.", 1.0))


def test_a_likelihood_that_is_none_counts_in_no_mean_and_is_no_json_number() -> None:
    predictions = [said("rag", PARIS, " Paris.", math.nan), said("rag", YEAR, " 1985.", 2.5)]
    rows = {row.type: row for row in summarize(predictions)}
    assert rows["all"].answer_nll == 2.5
    assert rows["place"].answer_nll is None
    assert rows["all"].num_questions == 2
    assert "answer_nll" not in predictions[0].model_dump(exclude_none=True)
