"""Adapters to and from PEFT's form, and what of it is refused."""

import json
import pickle
from pathlib import Path

import peft
import pytest
import safetensors.torch
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig
from prag_lightning.adapters.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    adapter_bytes,
    config_json,
    read_adapter,
    read_config,
)
from tests.conftest import tiny_base
from tests.reference import lora_parameters, peft_model, set_adapter

LORA = LoraConfig(rank=2, alpha=32.0)


@pytest.fixture
def base() -> PreTrainedModel:
    return tiny_base()


@pytest.fixture(scope="module")
def layout() -> AdapterLayout:
    return AdapterBank(tiny_base(), LORA, 1).layout


@pytest.fixture(scope="module")
def row(layout: AdapterLayout) -> Tensor:
    return torch.randn(layout.num_params, generator=torch.Generator().manual_seed(0)) / 10


def write_folder(folder: Path, row: Tensor, layout: AdapterLayout, lora: LoraConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(adapter_bytes(row, layout))
    (folder / CONFIG_FILE).write_bytes(config_json(lora, "tiny/llama"))


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(input_ids=torch.arange(12)[None]).logits
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_file_is_byte_for_byte_the_one_that_peft_writes(
    tmp_path: Path, base: PreTrainedModel, layout: AdapterLayout, row: Tensor, dtype: torch.dtype
) -> None:
    model = peft_model(base, LORA)
    for parameter in lora_parameters(model).values():
        parameter.data = parameter.data.to(dtype)
    set_adapter(model, layout, row.to(dtype))
    model.save_pretrained(str(tmp_path))
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == adapter_bytes(row.to(dtype), layout)


def test_peft_loads_the_folder_and_answers_as_with_its_own(
    tmp_path: Path, base: PreTrainedModel, layout: AdapterLayout, row: Tensor
) -> None:
    own = peft_model(base, LORA)
    set_adapter(own, layout, row)
    expected, plain = logits(own), logits(base)
    write_folder(tmp_path, row, layout, LORA)
    loaded = peft.PeftModel.from_pretrained(tiny_base(), str(tmp_path))
    assert torch.equal(logits(loaded), expected)
    assert (expected - plain).abs().max() > 0.1


def test_what_peft_saved_is_read(
    tmp_path: Path, base: PreTrainedModel, layout: AdapterLayout, row: Tensor
) -> None:
    model = peft_model(base, LORA)
    set_adapter(model, layout, row)
    model.save_pretrained(str(tmp_path))
    assert torch.equal(read_adapter(tmp_path, layout, LORA), row)
    assert torch.equal(read_adapter(f"file://{tmp_path}", layout, LORA), row)


@pytest.mark.filterwarnings("ignore:.*multiple adapters:UserWarning")
@pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning")
def test_the_prefix_that_a_twice_wrapped_model_doubles_is_repaired(
    tmp_path: Path, base: PreTrainedModel, layout: AdapterLayout, row: Tensor
) -> None:
    model = peft_model(base, LORA)
    set_adapter(model, layout, row)
    model.save_pretrained(str(tmp_path / "start"))
    # As the published encoder does on its first run.
    twice = peft.PeftModel.from_pretrained(model, str(tmp_path / "start"), is_trainable=True)
    parameters = lora_parameters(twice)
    with torch.no_grad():
        for key, matrix in layout.split(row + 1).items():
            parameters[f"base_model.model.{key}"].copy_(matrix)
    twice.save_pretrained(str(tmp_path / "doubled"))
    keys = safetensors.torch.load_file(tmp_path / "doubled" / WEIGHTS_FILE).keys()
    assert all(key.startswith("base_model.model.base_model.model.") for key in keys)
    assert torch.equal(read_adapter(tmp_path / "doubled", layout, LORA), row + 1)


def test_a_file_with_both_prefixes_is_refused(
    tmp_path: Path, layout: AdapterLayout, row: Tensor
) -> None:
    write_folder(tmp_path, row, layout, LORA)
    tensors = layout.split(row)
    doubled = {f"base_model.model.{key}": tensor.clone() for key, tensor in tensors.items()}
    safetensors.torch.save_file({**tensors, **doubled}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(ValueError, match="with and without a doubled prefix"):
        read_adapter(tmp_path, layout, LORA)


def _without_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(list(tensors.items())[1:])


def _with_another(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "base_model.model.lm_head.lora_A.weight": torch.zeros(2, 2)}


def _wider(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.cat([tensor, tensor], dim=1) for key, tensor in tensors.items()}


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.replace("layers.1", "layers.9"): tensor for key, tensor in tensors.items()}


def _not_finite(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor / 0 for key, tensor in tensors.items()}


def _too_large_for_float32(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.double().fill_(1e300) for key, tensor in tensors.items()}


def _float8(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.to(torch.float8_e4m3fn) for key, tensor in tensors.items()}


def _one_float8(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    first = next(iter(tensors))
    return {**tensors, first: tensors[first].to(torch.float8_e5m2)}


def _complex(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.to(torch.complex64) for key, tensor in tensors.items()}


def _integers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.int() for key, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_one, "1 of 12 tensors are missing"),
        (_with_another, "belong to no adapted module, 'base_model.model.lm_head"),
        (_renamed, "6 of 12 tensors are missing"),
        (_wider, "too large for an adapter of this base model|has shape"),
        (_not_finite, "numbers that are not finite in float32"),
        (_too_large_for_float32, "numbers that are not finite in float32"),
        (_integers, r"tensor '.*' is torch\.int32; convert the adapter to float32, bfloat16"),
        (_float8, r"is torch\.float8_e4m3fn; convert the adapter"),
        (_one_float8, r"is torch\.float8_e5m2; convert the adapter"),
        (_complex, r"is torch\.complex64; convert the adapter"),
    ],
)
def test_an_adapter_of_another_model_is_refused(
    tmp_path: Path, layout: AdapterLayout, row: Tensor, change: object, message: str
) -> None:
    assert callable(change)
    write_folder(tmp_path, row, layout, LORA)
    safetensors.torch.save_file(change(layout.split(row)), tmp_path / WEIGHTS_FILE)
    with pytest.raises(ValueError, match=message):
        read_adapter(tmp_path, layout, LORA)


@pytest.mark.parametrize("dtype", ["F8_E8M0", "F4", "F6_E2M3", "nonsense"])
def test_numbers_of_a_type_that_torch_lacks_are_refused(
    tmp_path: Path, layout: AdapterLayout, row: Tensor, dtype: str
) -> None:
    write_folder(tmp_path, row, layout, LORA)
    header = json.dumps({"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(4)
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"holds numbers of type|no whole safetensors file"):
        read_adapter(tmp_path, layout, LORA)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_floating_point_numbers_are_read_as_float32(
    tmp_path: Path, layout: AdapterLayout, row: Tensor, dtype: torch.dtype
) -> None:
    write_folder(tmp_path, row, layout, LORA)
    tensors = {key: tensor.to(dtype) for key, tensor in layout.split(row).items()}
    safetensors.torch.save_file(tensors, tmp_path / WEIGHTS_FILE)
    assert torch.equal(read_adapter(tmp_path, layout, LORA), row.to(dtype).float())


def test_a_config_with_a_byte_order_mark_is_read_and_a_pattern_is_refused_as_one(
    tmp_path: Path, layout: AdapterLayout, row: Tensor
) -> None:
    write_folder(tmp_path, row, layout, LORA)
    config = (tmp_path / CONFIG_FILE).read_bytes()
    (tmp_path / CONFIG_FILE).write_bytes(b"\xef\xbb\xbf" + config)
    assert torch.equal(read_adapter(tmp_path, layout, LORA), row)
    fields = {**json.loads(config), "target_modules": r".*(gate|up|down)_proj"}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"'target_modules': must be a list of names, not '\.\*"):
        read_adapter(tmp_path, layout, LORA)


def test_a_snapshot_of_the_hub_which_is_links_is_read(
    tmp_path: Path, layout: AdapterLayout, row: Tensor
) -> None:
    write_folder(tmp_path / "blobs", row, layout, LORA)
    (tmp_path / "snapshot").mkdir()
    for file in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(file)
    assert torch.equal(read_adapter(tmp_path / "snapshot", layout, LORA), row)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (LoraConfig(rank=4), "has rank 2, expected 4"),
        (LoraConfig(alpha=16.0), r"has alpha 32\.0, expected 16\.0; set the LoRA alpha to 32\.0"),
    ],
)
def test_other_settings_are_refused(
    tmp_path: Path, layout: AdapterLayout, row: Tensor, lora: LoraConfig, message: str
) -> None:
    write_folder(tmp_path, row, layout, LORA)
    with pytest.raises(ValueError, match=message):
        read_adapter(tmp_path, layout, lora)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path, layout: AdapterLayout, row: Tensor) -> None:
    write_folder(tmp_path, row, layout, LORA)
    whole = (tmp_path / WEIGHTS_FILE).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for length in (0, 4, 8, 100, header - 1, header, header + 1, len(whole) - 1):
        (tmp_path / WEIGHTS_FILE).write_bytes(whole[:length])
        with pytest.raises(ValueError, match="no whole safetensors file"):
            read_adapter(tmp_path, layout, LORA)


@pytest.mark.parametrize("header", [2**63, 100_000_001, 2**22 + 1])
def test_a_header_that_would_take_much_memory_is_refused_before_it_does(
    tmp_path: Path, layout: AdapterLayout, row: Tensor, header: int
) -> None:
    write_folder(tmp_path, row, layout, LORA)
    with (tmp_path / WEIGHTS_FILE).open("rb+") as file:
        file.write(header.to_bytes(8, "little"))
    with pytest.raises(ValueError, match=f"a header of {header:,}; that is too large"):
        read_adapter(tmp_path, layout, LORA)


def test_a_file_larger_than_any_adapter_of_the_model_is_refused_unread(
    tmp_path: Path, layout: AdapterLayout, row: Tensor
) -> None:
    write_folder(tmp_path, row, layout, LORA)
    with (tmp_path / WEIGHTS_FILE).open("rb+") as file:
        # Takes no room on the disk, but would in memory.
        file.truncate(2**40)
    with pytest.raises(ValueError, match="has 1,099,511,627,776 bytes"):
        read_adapter(tmp_path, layout, LORA)


def test_a_pickle_is_never_read(tmp_path: Path, layout: AdapterLayout) -> None:
    (tmp_path / CONFIG_FILE).write_bytes(config_json(LORA, "tiny/llama"))
    (tmp_path / "adapter_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match=r"adapter_model\.bin: a pickle can run .* convert it"):
        read_adapter(tmp_path, layout, LORA)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_folder_without_one_of_the_files_is_refused(
    tmp_path: Path, layout: AdapterLayout, row: Tensor, name: str
) -> None:
    write_folder(tmp_path, row, layout, LORA)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}: no such file"):
        read_adapter(tmp_path, layout, LORA)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("peft_type", "LOHA"),
        ("r", 0),
        ("r", 100_000),
        ("r", "2"),
        ("lora_alpha", float("nan")),
        ("lora_alpha", 0),
        # Changes the base model's weights for good.
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "olora"),
        # Keeps a matcher busy for ever.
        ("target_modules", "(a+)+$"),
        ("target_modules", []),
        ("bias", "all"),
        ("use_rslora", True),
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"down_proj": 8}),
        ("alpha_pattern", {"down_proj": 8}),
        ("layers_to_transform", [0]),
        ("fan_in_fan_out", True),
        ("trainable_token_indices", [1]),
        ("a_setting_of_the_future", {"on": True}),
    ],
)
def test_a_config_that_asks_for_more_than_plain_lora_is_refused(
    setting: str, value: object
) -> None:
    fields = {**json.loads(config_json(LORA, "tiny/llama")), setting: value}
    with pytest.raises(ValueError, match=f"a.json: .*{setting}.*only plain LoRA adapters"):
        read_config(json.dumps(fields).encode(), "a.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"a\.json: .*only plain LoRA adapters"):
        read_config(content, "a.json")


def test_a_config_of_peft_is_read(tmp_path: Path, base: PreTrainedModel) -> None:
    peft_model(base, LORA).save_pretrained(str(tmp_path))
    assert read_config((tmp_path / CONFIG_FILE).read_bytes(), "a.json").lora == LORA
