"""Choosing a merge rule on questions that are not used for testing."""

import random
from collections.abc import Callable, Sequence
from typing import Literal

from prag_lightning.adapters.merge import make_merge_rule
from prag_lightning.answerer import Answerer
from prag_lightning.answering.merge_choice import MergeChoice, RuleSpec, TriedRule, rule_text
from prag_lightning.answering.questions import QuestionBatches, require_answers
from prag_lightning.documents.records import Question
from prag_lightning.evaluation.scores import ALL_TYPES, Prediction, score_answer, summarize

TuningMetric = Literal["f1", "em", "recall"]
TuningMethod = Literal["prag", "own", "combine"]
_METRICS = ("f1", "em", "recall")


def _default_rules() -> list[RuleSpec]:
    """Return rules from the simplest on: on equal scores the first is chosen."""
    weights: list[RuleSpec] = [
        "anchored",
        *({"falling": {"weights": [1, rest]}} for rest in (0.5, 0.25)),
        *({"score": {"temperature": temperature}} for temperature in (2, 8, 16, 32)),
    ]
    around: list[RuleSpec] = [
        {name: {"rule": rule}}
        for name in ("centered", "projection")
        for rule in ("anchored", *weights[-2:])
    ]
    return [*weights, "mean", {"anchored": {"scale": 0.5}}, *around]


DEFAULT_RULES = _default_rules()


def tune_merge(
    answerer: Answerer,
    questions: Sequence[Question],
    rules: Sequence[RuleSpec] = DEFAULT_RULES,
    *,
    method: TuningMethod = "prag",
    metric: TuningMetric = "f1",
    tell: Callable[[str], None] = print,
) -> MergeChoice:
    """Return the merge rule that answers best, and the scores of each.

    Documents are retrieved once for all rules; those that have no adapter are left out.

    >>> choice = tune_merge(answerer, questions, ["anchored", "centered"])  # doctest: +SKIP
    >>> MergedEvaluation(merge=choice.merge)  # doctest: +SKIP

    Args:
        answerer: The model, the store and the documents.
        questions: The questions, none of which should be used for testing.
        rules: The merge rules to try, each as ``evaluation.merge`` names it.
        method: The method that answers.
        metric: Its mean over all questions decides; of equal rules the first is chosen.
        tell: Called with a line of text after each rule.

    Raises:
        ValueError: If there is no rule or no question, or one is invalid.
    """
    if not rules or not questions:
        raise ValueError("there is nothing to choose by; give at least one rule and one question")
    require_answers(questions, "the questions")
    for rule in rules:
        make_merge_rule(rule)
    batches = answerer.batches(questions, method)
    tried = []
    for number, rule in enumerate(rules, start=1):
        tried.append(TriedRule(merge=rule, scores=_scores(answerer, batches, rule)))
        score = tried[-1].scores[ALL_TYPES][metric]
        tell(f"{number} of {len(rules)}: {rule_text(rule)}: {metric} {score:.3f}")
    best = max(tried, key=lambda one: one.scores[ALL_TYPES][metric])
    return MergeChoice(
        merge=best.merge,
        method=method,
        metric=metric,
        tried=tried,
        question_ids=[question.id for question in questions],
    )


def _scores(
    answerer: Answerer, batches: QuestionBatches, rule: RuleSpec
) -> dict[str, dict[str, float]]:
    predictions: list[Prediction] = []
    for number in range(len(batches)):
        answers, nll = answerer.answer_batch(batches[number], merge=rule)
        rows = zip(answers, batches[number].questions, nll.tolist(), strict=True)
        predictions += [
            score_answer(answer, question, value, 0.0, True, answerer.scoring)
            for answer, question, value in rows
        ]
    return {
        score.type: {name: getattr(score, name) for name in _METRICS}
        for score in summarize(predictions)
    }


def split_by_document(
    questions: Sequence[Question], share: float, seed: int = 0
) -> tuple[list[Question], list[Question]]:
    """Split questions into two parts that share no document.

    Args:
        questions: The questions.
        share: Approximate share of the first part, between 0 and 1.
        seed: Seed of the draw.

    Returns:
        Both parts, in the order of the questions.

    Raises:
        ValueError: If one of the two would be empty.
    """
    groups = _connected(questions)
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    first: set[str] = set()
    for name in order:
        if len(first) >= share * len(questions):
            break
        first.update(groups[name])
    parts = [q for q in questions if q.id in first], [q for q in questions if q.id not in first]
    if not all(parts):
        raise ValueError(
            f"{len(questions)} questions about {len(groups)} separate groups of documents cannot "
            f"be split with {share:g} of them in one part; give a file of questions to choose by"
        )
    return parts


def _connected(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return the ids of questions, grouped by connection through shared documents."""
    # Union-find: each document points to a linked one; the root points to itself.
    linked: dict[str, str] = {}

    def root(name: str) -> str:
        while (upper := linked.setdefault(name, name)) != name:
            linked[name] = linked[upper]
            name = upper
        return name

    for question in questions:
        for name in question.document_ids[1:]:
            linked[root(name)] = root(question.document_ids[0])
    groups: dict[str, list[str]] = {}
    for question in questions:
        # A question whose documents are unknown is a group of its own.
        name = (
            f"d {root(question.document_ids[0])}" if question.document_ids else f"q {question.id}"
        )
        groups.setdefault(name, []).append(question.id)
    return groups
