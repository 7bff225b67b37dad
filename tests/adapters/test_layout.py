import peft
import pytest
import torch
from torch import Tensor

from prag_lightning.adapters.bank import feature_sizes, find_target_modules
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from tests.conftest import tiny_base
from tests.reference import peft_model

LAYOUT = AdapterLayout((("layers.0.up", 3, 5), ("layers.1.down", 4, 2)), rank=2)
UP_A, UP_B, DOWN_A, DOWN_B = (
    f"base_model.model.layers.{layer}.lora_{letter}.weight"
    for layer in ("0.up", "1.down")
    for letter in "AB"
)


def tensors() -> dict[str, Tensor]:
    return LAYOUT.split(torch.arange(LAYOUT.num_params))


def test_matrices_stand_behind_each_other_without_gaps_in_the_base_s_order() -> None:
    assert [(m.key, m.shape, m.start, m.stop) for m in LAYOUT.matrices] == [
        (UP_A, (2, 3), 0, 6),
        (UP_B, (5, 2), 6, 16),
        (DOWN_A, (2, 4), 16, 24),
        (DOWN_B, (2, 2), 24, 28),
    ]
    assert LAYOUT.num_params == 28


def test_matrices_are_views_of_their_row() -> None:
    row = torch.arange(28)
    matrices = LAYOUT.split(row)
    assert torch.equal(matrices[UP_B], torch.arange(6, 16).view(5, 2))
    matrices[DOWN_A][0, 1] = -1
    assert row[17] == -1


def test_joining_what_was_split_in_any_order_gives_the_row_again() -> None:
    shuffled = dict(reversed(tensors().items()))
    assert torch.equal(LAYOUT.join(shuffled, "test"), torch.arange(28))


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_keys_and_shapes_are_those_that_peft_saves(architecture: str) -> None:
    base, config = tiny_base(architecture), LoraConfig(rank=3)
    modules = find_target_modules(base, config.target_modules)
    layout = AdapterLayout(
        tuple((name, *feature_sizes(module)) for name, module in modules), config.rank
    )
    saved = peft.get_peft_model_state_dict(peft_model(base, config))
    assert {m.key: m.shape for m in layout.matrices} == {
        key: tuple(tensor.shape) for key, tensor in saved.items()
    }
    assert layout.num_params == sum(tensor.numel() for tensor in saved.values())


def test_a_missing_matrix_is_named_with_its_source() -> None:
    some = tensors()
    del some[UP_B], some[DOWN_A]
    message = rf"some/file: 2 of 4 tensors are missing, '{UP_B}' first; was it made for another"
    with pytest.raises(ValueError, match=message):
        LAYOUT.join(some, "some/file")


def test_a_matrix_of_no_adapted_module_is_named() -> None:
    message = "1 tensors belong to no adapted module, 'base_model.model.other' first"
    with pytest.raises(ValueError, match=message):
        LAYOUT.join({**tensors(), "base_model.model.other": torch.zeros(1)}, "file")


def test_a_matrix_of_another_shape_is_named_with_both_shapes() -> None:
    turned = {**tensors(), UP_A: torch.zeros(3, 2)}
    with pytest.raises(ValueError, match=rf"'{UP_A}' has shape \(3, 2\), expected \(2, 3\)"):
        LAYOUT.join(turned, "file")


def test_the_scaling_is_alpha_over_rank() -> None:
    assert LoraConfig(rank=4, alpha=32).scaling == 8.0


@pytest.mark.parametrize("rank", [0, -2])
def test_a_rank_below_1_is_refused(rank: int) -> None:
    with pytest.raises(
        ValueError, match=rf"the rank of an adapter is {rank}, but must be at least"
    ):
        LoraConfig(rank=rank)


def test_no_target_module_is_refused() -> None:
    with pytest.raises(ValueError, match="no target modules are named"):
        LoraConfig(target_modules=())
