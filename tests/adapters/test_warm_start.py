import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.warm_start import RANDOM, WarmStartSource, random_adapter
from tests.conftest import tiny_base
from tests.reference import lora_parameters, peft_model

LAYOUT = AdapterLayout((("wide", 900, 20), ("narrow", 16, 30)), rank=50)
CONFIG = LoraConfig(rank=2, alpha=32)


def test_a_random_start_is_uniform_within_the_bounds_of_peft_s_initialization() -> None:
    for key, matrix in LAYOUT.split(random_adapter(LAYOUT, seed=0)).items():
        if ".lora_B." in key:
            assert not matrix.any()
            continue
        # What PEFT calls (Kaiming with a = sqrt(5), as for a linear layer), drawn elsewhere.
        reference = nn.init.kaiming_uniform_(torch.empty_like(matrix), a=math.sqrt(5))
        bound = 1 / math.sqrt(matrix.shape[1])
        for drawn in (matrix, reference):
            assert drawn.abs().max() <= bound
            assert drawn.abs().max() > 0.98 * bound
            assert drawn.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
            assert drawn.mean() == pytest.approx(0, abs=0.1 * bound)


def test_a_random_start_spreads_as_an_adapter_that_peft_has_just_made() -> None:
    base = tiny_base()
    rank = 64
    config = LoraConfig(rank=rank)
    ours = random_adapter(AdapterBank(tiny_base(), config, 1).layout, seed=0)
    theirs = lora_parameters(peft_model(base, config))
    matrices = AdapterBank(tiny_base(), config, 1).layout.split(ours)
    assert matrices.keys() == theirs.keys()
    for key, matrix in matrices.items():
        assert matrix.shape == theirs[key].shape
        assert matrix.std().item() == pytest.approx(theirs[key].std().item(), rel=0.1)


def test_a_random_start_is_the_same_for_a_seed_and_another_for_another() -> None:
    state = torch.random.get_rng_state()
    first = random_adapter(LAYOUT, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(WarmStartSource(RANDOM, 3).read(LAYOUT, CONFIG), first)
    assert not torch.equal(random_adapter(LAYOUT, seed=4), first)


def trained_start(folder: Path, config: LoraConfig = CONFIG) -> dict[str, torch.Tensor]:
    """Save an adapter that changes something with PEFT, and return its matrices."""
    model = peft_model(tiny_base(), config)
    parameters = lora_parameters(model)
    with torch.no_grad():
        for number, parameter in enumerate(parameters.values()):
            parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(number))
    model.save_pretrained(str(folder))
    return {key: parameter.detach() for key, parameter in parameters.items()}


def test_a_folder_that_peft_saved_is_read_as_it_is(tmp_path: Path) -> None:
    saved = trained_start(tmp_path)
    layout = AdapterBank(tiny_base(), CONFIG, 1).layout
    row = WarmStartSource(str(tmp_path)).read(layout, CONFIG)
    assert row.dtype == torch.float32
    for key, matrix in layout.split(row).items():
        assert torch.equal(matrix, saved[key])


@pytest.mark.parametrize("other", [LoraConfig(rank=3, alpha=32), LoraConfig(rank=2, alpha=16)])
def test_a_start_of_another_rank_or_scaling_is_refused(tmp_path: Path, other: LoraConfig) -> None:
    trained_start(tmp_path)
    layout = AdapterBank(tiny_base(), other, 1).layout
    with pytest.raises(
        ValueError, match=r"has (rank 2, expected 3|alpha 32.0, expected 16); set the LoRA"
    ):
        WarmStartSource(str(tmp_path)).read(layout, other)


def test_a_start_for_other_modules_is_refused(tmp_path: Path) -> None:
    trained_start(tmp_path)
    config = LoraConfig(target_modules=("q_proj",))
    layout = AdapterBank(tiny_base(), config, 1).layout
    with pytest.raises(ValueError, match="too large for an adapter of this base model"):
        WarmStartSource(str(tmp_path)).read(layout, config)


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"adapter_config\.json: no such file; PEFT's save_pretrained"
    ):
        WarmStartSource(str(tmp_path)).read(LAYOUT, CONFIG)


def test_a_configuration_that_is_no_lora_is_refused(tmp_path: Path) -> None:
    trained_start(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    layout = AdapterBank(tiny_base(), CONFIG, 1).layout
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        WarmStartSource(str(tmp_path)).read(layout, CONFIG)
