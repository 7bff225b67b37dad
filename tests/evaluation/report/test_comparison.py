from collections.abc import Mapping

import pytest

from prag_lightning.evaluation.report.comparison import (
    Columns,
    method_differences,
    run_differences,
    score_rows,
)
from prag_lightning.evaluation.report.disagreements import find_disagreements
from prag_lightning.evaluation.report.verdict import Verdict, judge
from prag_lightning.evaluation.scores import summarize
from tests.evaluation.report.predictions import prediction, predictions

NONE, SOME, ALL = [0.0] * 40, [0.0, 0.0, 0.0, 1.0] * 10, [1.0] * 40


def verdicts(
    right: Mapping[str, list[float]], nll: Mapping[str, float] | None = None
) -> list[Verdict]:
    made = predictions(right, nll)
    columns = Columns(made)
    return judge(score_rows(summarize(made), columns), method_differences(columns))


def test_a_row_holds_the_score_and_an_interval_around_it() -> None:
    made = predictions({"rag": SOME, "prag": ALL})
    row, certain = score_rows(summarize(made), Columns(made))
    assert row.intervals["f1"].mean == pytest.approx(row.score.f1) == 0.25
    assert row.intervals["f1"].low < 0.25 < row.intervals["f1"].high
    assert certain.intervals["em"] == (1, 1, 1)


def test_types_are_compared_each_and_together_and_only_where_they_count() -> None:
    made = [
        prediction("prag", 1, 1.0, type="easy"),
        prediction("prag", 2, 0.5, type="hard"),
        prediction("prag", 3, 0.0, type="hard").model_copy(update={"counts_in_all": False}),
        prediction("rag", 1, 0.5, type="easy"),
        prediction("rag", 2, 0.5, type="hard"),
        prediction("rag", 4, 0.0, type="hard"),
    ]
    rows = method_differences(Columns(made))
    seen = {(r.one, r.other, r.type): (r.num_questions, r.intervals["f1"].mean) for r in rows}
    assert seen == {
        ("prag", "rag", "all"): (2, 0.25),
        ("prag", "rag", "easy"): (1, 0.5),
        ("prag", "rag", "hard"): (1, 0.0),
    }


def test_runs_are_compared_method_by_method_on_the_questions_of_both() -> None:
    first = Columns(predictions({"rag": SOME, "prag": NONE}))
    run = Columns(predictions({"prag": SOME[:20], "own": ALL}))
    (row,) = run_differences(run, first)
    assert (row.one, row.other, row.num_questions) == ("prag", "prag", 20)
    assert row.intervals["f1"].mean == 0.25
    assert row.intervals["f1"].is_positive


@pytest.mark.parametrize(
    ("right", "word", "reason"),
    [
        ({"closed_book": NONE, "prag": ALL, "other": NONE, "rag": ALL}, "yes", "as many as"),
        ({"closed_book": NONE, "prag": [*ALL[:30], *NONE[:10]], "rag": ALL}, "yes", "fewer than"),
        ({"closed_book": NONE, "prag": SOME, "rag": ALL}, "partly", "under half"),
        ({"closed_book": NONE, "prag": SOME, "other": SOME}, "partly", "not than other"),
        ({"closed_book": SOME, "prag": SOME, "other": NONE}, "no", "No better than"),
        ({"closed_book": SOME, "own": NONE}, "no", "No better than"),
    ],
)
def test_the_verdict_follows_the_differences(
    right: dict[str, list[float]], word: str, reason: str
) -> None:
    (verdict,) = verdicts(right)
    assert verdict.word == word
    assert reason in verdict.reason


def test_answers_that_are_likelier_but_not_right_are_not_passed_over() -> None:
    right = {"closed_book": NONE, "own": NONE, "other": NONE}
    (verdict,) = verdicts(right, {"closed_book": 9.0, "other": 7.0, "own": 5.0})
    assert verdict.word == "no"
    assert "but likelier" in verdict.reason
    (verdict,) = verdicts(right, {"closed_book": 9.0, "other": 4.0, "own": 5.0})
    assert "but likelier" not in verdict.reason


def test_without_the_bare_model_there_is_no_verdict() -> None:
    assert verdicts({"prag": ALL, "other": NONE}) == []
    assert verdicts({"closed_book": ALL, "rag": NONE}) == []


def test_a_type_of_all_questions_is_judged_once() -> None:
    made = [
        prediction(method, number, 0.0, type="only")
        for method in ("closed_book", "prag")
        for number in range(4)
    ]
    columns = Columns(made)
    rows = score_rows(summarize(made), columns)
    assert {row.score.type for row in rows} == {"all", "only"}
    assert [v.type for v in judge(rows, method_differences(columns))] == ["all"]


def test_disagreements_are_counted_and_shown_with_what_all_methods_said() -> None:
    made = predictions({"closed_book": [0, 0, 0.5, 1], "prag": [1, 1, 1, 0], "rag": [1, 0, 1, 1]})
    found = {(d.right, d.wrong): d for d in find_disagreements(made)}
    counts = {pair: d.count for pair, d in found.items()}
    # Half right is neither.
    assert counts == {("prag", "closed_book"): 2, ("prag", "rag"): 1, ("rag", "prag"): 1}
    (example,) = found["rag", "prag"].examples
    assert [(p.method, p.question_id) for p in example] == [
        ("closed_book", "q3"),
        ("prag", "q3"),
        ("rag", "q3"),
    ]
