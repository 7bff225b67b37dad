import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.merge import (
    MERGE_RULES,
    ChangingRule,
    MergeRule,
    MergeWeights,
    make_merge_rule,
)
from prag_lightning.adapters.merge_weights import Centered, Score
from prag_lightning.adapters.projection import Projection
from prag_lightning.adapters.ties import Ties
from tests.conftest import tiny_base
from tests.reference import peft_model

RULES = sorted(MERGE_RULES)
SCORES = [9.0, 8.0, 6.5]
EVEN = MergeWeights((1.0, 1.0, 1.0), 0.0)
LAYOUT = AdapterLayout((("up_proj", 7, 12), ("down_proj", 12, 7)), rank=2)


def random_adapters(count: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, LAYOUT.num_params, generator=generator, dtype=torch.float64)


def updates(adapter: torch.Tensor) -> list[torch.Tensor]:
    """What an adapter adds to the weights of each module, written out."""
    matrices = list(LAYOUT.split(adapter).values())
    return [b @ a for a, b in zip(matrices[::2], matrices[1::2], strict=True)]


def dense(
    spec: object,
    adapters: torch.Tensor,
    warm_start: torch.Tensor,
    mean: torch.Tensor | None = None,
) -> list[torch.Tensor]:
    """What a merge adds to the weights of each module, written out."""
    rule = make_merge_rule(spec)
    weights = rule.weigh(SCORES[: len(adapters)])
    if isinstance(rule, ChangingRule):
        adapters, weights = rule.change(adapters, weights, warm_start, LAYOUT)
    terms = [*zip(weights.documents, adapters, strict=True), (weights.warm_start, warm_start)]
    if mean is not None:
        terms.append((weights.mean, mean))
    return sums([[w * update for update in updates(adapter)] for w, adapter in terms if w])


def sums(parts: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
    """The sums of several updates, module by module."""
    return [torch.stack(column).sum(0) for column in zip(*parts, strict=True)]


def distance(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    pairs = zip(one, other, strict=True)
    return math.sqrt(sum(float((a - b).square().sum()) for a, b in pairs))


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
    adapter = random_adapters(1)
    start = random_adapters(1, seed=2)[0]
    for merged_update, own in zip(dense(rule, adapter, start), updates(adapter[0]), strict=True):
        assert torch.equal(merged_update, own)


@given(
    st.sampled_from(["anchored", "sum", "mean", "score", "falling", "centered"]),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
    st.floats(0.01, 1e6),
)
def test_what_all_adapters_share_is_counted_once_by_every_rule_but_sum(
    rule: str, scores: list[float], temperature: float
) -> None:
    spec = {"score": {"temperature": temperature}} if rule == "score" else rule
    weights = make_merge_rule(spec).weigh(scores)
    total = sum(weights.documents) + weights.warm_start + weights.mean
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


def test_a_centered_merge_counts_the_update_that_all_share_once() -> None:
    """Adapters that share ``lora_A`` have the product of mean factors as their mean update."""
    start, adapters = random_adapters(1, seed=2)[0], random_adapters(3)
    for matrix in LAYOUT.matrices[::2]:
        adapters[:, matrix.start : matrix.stop] = start[matrix.start : matrix.stop]
    own = [updates(adapter) for adapter in adapters]
    expected = [
        mean + (first - mean) + 0.5 * (second - mean) + 0.5 * (third - mean)
        for total, first, second, third in zip(sums(own), *own, strict=True)
        for mean in [total / 3]
    ]
    spec = {"centered": {"rule": {"falling": {"weights": [1.0, 0.5]}}}}
    merged = dense(spec, adapters, start, adapters.mean(0))
    assert distance(merged, expected) < 1e-12
    assert distance(dense("anchored", adapters, start), expected) > 1


def test_where_both_factors_move_the_mean_lacks_their_covariance_and_no_more() -> None:
    adapters = random_adapters(4)
    mean = adapters.mean(0)
    exact = sums([updates(adapter) for adapter in adapters])
    rest = sums([updates(adapter) for adapter in adapters - mean])
    assert distance(sums([updates(mean)] * 4 + [rest]), exact) < 1e-12
    assert distance(sums([updates(mean)] * 4), exact) > 1


def test_a_part_of_what_is_too_much_can_be_taken_from_the_warm_start() -> None:
    weights = Centered("anchored", share=0.25).weigh(SCORES)
    assert weights == MergeWeights((1.0, 1.0, 1.0), warm_start=-1.5, mean=-0.5)


@pytest.mark.parametrize(
    ("spec", "documents", "warm_start"),
    [
        ({"sum": {"scale": 0.5}}, (0.5, 0.5, 0.5), 0.0),
        ({"mean": {"scale": 1.5}}, (0.5, 0.5, 0.5), 0.0),
        ({"anchored": {"scale": 0.5}}, (0.5, 0.5, 0.5), -0.5),
        ({"score": {"temperature": 1e9, "scale": 2}}, (2.0, 2.0, 2.0), -5.0),
        ({"falling": {"weights": [1, 0.5, 0.25]}}, (1.0, 0.5, 0.25), -0.75),
        ({"falling": {"weights": [0.5]}}, (0.5, 0.5, 0.5), -0.5),
    ],
)
def test_scales_and_ranks_say_what_documents_count(
    spec: dict[str, object], documents: tuple[float, ...], warm_start: float
) -> None:
    weights = make_merge_rule(spec).weigh(SCORES)
    assert weights.documents == pytest.approx(documents)
    assert weights.warm_start == pytest.approx(warm_start)


def test_ties_merges_as_peft_does_what_started_from_nothing() -> None:
    config = LoraConfig(rank=2, alpha=6.0, target_modules=("down_proj", "up_proj"))
    base = tiny_base().double()
    bank = AdapterBank(base, config, 1)
    generator = torch.Generator().manual_seed(3)
    adapters = torch.randn(3, bank.layout.num_params, generator=generator, dtype=torch.float64)
    model, names = peft_model(tiny_base().double(), config), ["one", "two", "three"]
    for name, row in zip(names, adapters, strict=True):
        model.add_adapter(name, model.peft_config["default"])
        for key, matrix in bank.layout.split(row).items():
            model.get_parameter(key.replace(".weight", f".{name}.weight")).data.copy_(matrix)
    model.add_weighted_adapter(names, [1.0] * 3, "merged", combination_type="ties", density=0.4)
    nothing = torch.zeros_like(adapters[0])
    (merged,), weights = Ties(density=0.4).change(adapters, EVEN, nothing, bank.layout)
    assert weights == MergeWeights((1.0,), 0.0)
    matrices = bank.layout.split(merged)
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "get_delta_weight"):
            ours = [matrices[f"{name}.lora_{letter}.weight"] for letter in "AB"]
            expected = module.get_delta_weight("merged").double()
            torch.testing.assert_close(config.scaling * ours[1] @ ours[0], expected)


def test_ties_of_a_trained_start_merges_what_was_changed() -> None:
    start = random_adapters(1, seed=2)[0]
    changes = torch.zeros(2, LAYOUT.num_params, dtype=torch.float64)
    # In the first matrix, of 14 numbers: one agreed on, one disputed, one that is trimmed away.
    changes[0, :8] = torch.tensor([1.0, -2.0, 0.1, 5.0, 5.0, 5.0, 5.0, 5.0])
    changes[1, :8] = torch.tensor([3.0, 1.0, 0.2, 7.0, 7.0, 7.0, 7.0, 7.0])
    (merged,), _ = Ties(density=0.5).change(start + changes, EVEN, start, LAYOUT)
    expected = torch.tensor([2.0, -2.0, 0.0, 6.0, 6.0, 6.0, 6.0, 6.0], dtype=torch.float64)
    torch.testing.assert_close((merged - start)[:8], expected)
    assert not (merged - start)[14:].any()


def test_projected_updates_write_to_no_direction_that_better_documents_write_to() -> None:
    adapters, start = random_adapters(3), random_adapters(1, seed=2)[0]
    changed, weights = Projection().change(adapters, EVEN, start, LAYOUT)
    assert weights == EVEN
    assert torch.equal(changed[0], adapters[0])
    own = [updates(adapter) for adapter in changed]
    for module in range(2):
        for better, worse in [(0, 1), (0, 2), (1, 2)]:
            assert (own[better][module].T @ own[worse][module]).abs().max() < 1e-10
            before = updates(adapters[better])[module].T @ updates(adapters[worse])[module]
            assert before.abs().max() > 0.1
    # What is left of an update is a projection of it.
    for mine, before in zip(own[2], updates(adapters[2]), strict=True):
        assert 0 < float(mine.norm()) < float(before.norm())
        torch.testing.assert_close((mine * (before - mine)).sum(), torch.zeros(()).double())


def test_of_equal_updates_projection_counts_one() -> None:
    adapter = random_adapters(1)
    for rule in ("anchored", {"anchored": {"scale": 0.5}}):
        # The rest of the warm start, which here is that update, too.
        merged = dense({"projection": {"rule": rule}}, adapter.repeat(3, 1), adapter[0])
        assert distance(merged, updates(adapter[0])) < 1e-10


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
        ("best", "there is no merge rule 'best'; there are anchored, centered, falling, gate, "),
        (None, "merge rule None: give a name or an import path"),
        ("{score:{temperature:2}}", "a space stands behind each colon"),
        ("os.nothing", "merge rule 'os.nothing' cannot be imported"),
        ("pathlib.Path", "does not derive from prag_lightning.adapters.merge.MergeRule"),
        ({"mean": {"temperature": 2}}, "merge rule 'mean' has no setting 'temperature'"),
        ({"score": {"temperature": -2}}, "temperature is -2.0, but must be above 0"),
        ({"sum": {"scale": 0}}, "scale is 0.0, but must be above 0"),
        ({"falling": {"weights": []}}, r"weights are \[\]; give at least one number"),
        ({"falling": {"weights": ["a"]}}, "merge rule 'falling': "),
        ({"centered": {"rule": "ties"}}, "'ties' cannot be centered"),
        ({"centered": {"rule": "centre"}}, "there is no merge rule 'centre'; did you mean"),
        ({"centered": {"share": 2}}, "share is 2.0, but must be from 0 to 1"),
        ({"ties": {"density": 1}}, "density is 1.0, but must be between 0 and 1"),
        ({"projection": {"rule": "ties"}}, "'ties' cannot be projected"),
        ({"centered": {"rule": "gate"}}, "'gate' cannot be centered"),
        ({"projection": {"rule": "gate"}}, "'gate' cannot be projected"),
        ({"gate": {"least_without": -1}}, "least_without is -1"),
        ({"gate": {"most_with": math.nan}}, "most_with is nan, but must be at least 0"),
        ({"gate": {"rule": {"gate": {}}}}, "a gate around a gate"),
    ],
)
def test_what_is_no_rule_is_refused(spec: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_merge_rule(spec)


class Halves(MergeRule):
    """A user's rule that leaves half of what is left to the warm start, and a quarter to no one."""

    def weigh(self, scores: Sequence[float]) -> MergeWeights:
        documents = tuple(0.5 for _ in scores)
        left = 1.0 - sum(documents)
        return MergeWeights(documents, left / 2, left / 4)


UNCHANGING = [
    *(rule for rule in RULES if not isinstance(make_merge_rule(rule), ChangingRule)),
    {"falling": {"weights": [0.5, 0.5]}},
    {"anchored": {"scale": 0.7}},
    {"centered": {"rule": {"score": {"temperature": 2}}, "share": 0.3}},
    Halves(),
]


@pytest.mark.parametrize(
    "spec", UNCHANGING, ids=lambda spec: "Halves" if isinstance(spec, Halves) else str(spec)
)
@pytest.mark.parametrize("num_documents", [1, 2, 3])
def test_the_weights_of_a_rule_given_by_hand_are_its_own_merge(
    spec: object, num_documents: int
) -> None:
    rule = make_merge_rule(spec)
    own = rule.weigh(SCORES[:num_documents])
    by_hand = rule.by_hand(own.documents)
    assert by_hand.documents == own.documents
    assert by_hand[1:] == pytest.approx(own[1:])


def test_what_weights_by_hand_leave_goes_where_the_rule_puts_it() -> None:
    given = [0.2, 0.1]
    expected: dict[str, tuple[float, float]] = {
        "anchored": (0.7, 0),
        "sum": (0, 0),
        "mean": (0, 0),
        "score": (0.7, 0),
    }
    expected |= {
        "falling": (0.7, 0),
        "centered": (0, 0.7),
        "ties": (0.7, 0),
        "projection": (0.7, 0),
        "gate": expected["anchored"],
    }
    for name in RULES:
        assert make_merge_rule(name).by_hand(given)[1:] == pytest.approx(expected[name]), name
