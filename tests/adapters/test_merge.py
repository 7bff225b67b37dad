import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.adapters.merge import (
    MERGE_RULES,
    MergeRule,
    MergeWeights,
    Score,
    make_merge_rule,
)

RULES = sorted(MERGE_RULES)
SCORES = [9.0, 8.0, 6.5]


def merged(rule: str, adapters: torch.Tensor, warm_start: torch.Tensor) -> torch.Tensor:
    """The merge written out, of adapters of shape ``(k, num_params)``."""
    weights = make_merge_rule(rule).weigh(SCORES[: len(adapters)])
    total = weights.warm_start * warm_start
    for weight, adapter in zip(weights.documents, adapters, strict=True):
        total = total + weight * adapter
    return total


def adapters_from(warm_start: torch.Tensor, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return warm_start + torch.randn(count, len(warm_start), generator=generator).double()


def test_the_rules_weigh_as_their_definitions_say() -> None:
    warm_start = torch.linspace(-3, 3, 7, dtype=torch.float64)
    adapters = adapters_from(warm_start)
    changes = adapters - warm_start
    torch.testing.assert_close(merged("sum", adapters, warm_start), adapters.sum(0))
    torch.testing.assert_close(merged("mean", adapters, warm_start), adapters.mean(0))
    torch.testing.assert_close(
        merged("anchored", adapters, warm_start), warm_start + changes.sum(0)
    )
    decay = torch.tensor([1.0, math.exp(-1.0), math.exp(-2.5)], dtype=torch.float64)
    torch.testing.assert_close(
        merged("score", adapters, warm_start), warm_start + (decay[:, None] * changes).sum(0)
    )


def test_from_a_start_that_adds_nothing_anchored_is_sum_and_from_another_it_is_not() -> None:
    nothing, something = torch.zeros(7).double(), torch.ones(7).double()
    for start, same in ((nothing, True), (something, False)):
        adapters = adapters_from(start)
        anchored, total = merged("anchored", adapters, start), merged("sum", adapters, start)
        assert torch.allclose(anchored, total) is same


@pytest.mark.parametrize("rule", RULES)
def test_one_document_is_its_adapter_alone(rule: str) -> None:
    assert make_merge_rule(rule).weigh([4.2]) == MergeWeights((1.0,), 0.0)


@given(
    st.sampled_from(["anchored", "sum", "mean"]) | st.just("score"),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
    st.floats(0.01, 1e6),
)
def test_what_all_adapters_share_is_counted_once_by_every_rule_but_sum(
    rule: str, scores: list[float], temperature: float
) -> None:
    spec = {"score": {"temperature": temperature}} if rule == "score" else rule
    weights = make_merge_rule(spec).weigh(scores)
    total = sum(weights.documents) + weights.warm_start
    assert total == pytest.approx(len(scores) if rule == "sum" else 1.0)
    assert all(0 <= weight <= 1 for weight in weights.documents)


def test_scores_count_by_their_differences_from_the_best_wherever_it_stands() -> None:
    weights = Score(2.0).weigh([1.0, 3.0, 2.0])
    assert weights.documents == pytest.approx((math.exp(-1), 1.0, math.exp(-0.5)))
    shifted = Score(2.0).weigh([1001.0, 1003.0, 1002.0])
    assert shifted.documents == pytest.approx(weights.documents)


def test_a_low_temperature_leaves_the_best_document_and_a_high_one_weighs_all_alike() -> None:
    assert Score(1e-3).weigh(SCORES).documents == (1.0, 0.0, 0.0)
    assert Score(1e9).weigh(SCORES).documents == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature is .*, but must be above 0"):
        Score(temperature)


class Closest(MergeRule):
    """Takes the best document alone."""

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        return MergeWeights((1.0, *(0.0 for _ in scores[1:])))


def test_a_rule_of_one_s_own_is_an_object_or_an_import_path() -> None:
    for spec in (Closest(), f"{__name__}.Closest", {"class_path": f"{__name__}.Closest"}):
        assert make_merge_rule(spec).weigh(SCORES) == MergeWeights((1.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("anchord", "there is no merge rule 'anchord'; did you mean 'anchored'"),
        ("best", "there is no merge rule 'best'; there are anchored, mean, score, sum"),
        (None, "merge rule None: give a name or an import path"),
        ("os.nothing", "merge rule 'os.nothing' cannot be imported"),
        ("pathlib.Path", "does not derive from prag_lightning.adapters.merge.MergeRule"),
        ({"mean": {"temperature": 2}}, "merge rule 'mean' has no setting 'temperature'"),
        ({"score": {"temperature": -2}}, "temperature is -2.0, but must be above 0"),
    ],
)
def test_what_is_no_rule_is_refused(spec: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_merge_rule(spec)
