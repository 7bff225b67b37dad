"""Answers that are kept until an evaluation ends."""

import math
import tracemalloc

import pytest

from prag_lightning.answering.answers import Answer
from prag_lightning.evaluation import results
from prag_lightning.evaluation.results import AnswerLog
from prag_lightning.evaluation.scores import Prediction
from tests.evaluation.test_scores import PREDICTIONS, YEAR, said


@pytest.mark.parametrize("in_memory", [2**25, 100])
def test_answers_come_back_as_they_were_in_their_order_while_others_are_added(
    monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(results, "_IN_MEMORY", in_memory)
    monkeypatch.setattr(results, "_BATCH", 2)
    log = AnswerLog(Prediction, PREDICTIONS[:3])
    answers = iter(log)
    assert [next(answers), next(answers)] == PREDICTIONS[:2]
    log.add(PREDICTIONS[3:])
    assert [*answers] == PREDICTIONS[2:]
    assert [*log] == PREDICTIONS
    assert [len(batch) for batch in log.batches()] == [2, 2]
    assert len(log) == 4
    assert PREDICTIONS[1] in log
    assert said("own", YEAR, "1984") not in log


def test_numbers_come_back_to_the_bit_and_unknown_ones_unknown() -> None:
    (found,) = AnswerLog(Prediction, [said("rag", YEAR, "é\u2028\n", nll=0.1 + 0.2, seconds=1e-9)])
    assert (found.answer_nll, found.seconds, found.text) == (0.1 + 0.2, 1e-9, "é\u2028\n")
    (without,) = AnswerLog(Prediction, [said("rag", YEAR, "", nll=math.nan)])
    assert without.answer_nll is None or math.isnan(without.answer_nll)


def test_many_answers_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_IN_MEMORY", 2**16)
    log, size = AnswerLog[Answer](Prediction), len(PREDICTIONS[0].model_dump_json())
    tracemalloc.start()
    for _ in range(500):
        log.add(PREDICTIONS)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(log) == 2000
    assert held < 2000 * size / 10
