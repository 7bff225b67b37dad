"""Adapters in PEFT's form: ``adapter_model.safetensors`` and ``adapter_config.json``."""

import json
import os
from collections.abc import Mapping
from typing import Literal

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from prag_lightning.adapters.files import PICKLE_SUFFIXES, StoreFiles
from prag_lightning.adapters.layout import AdapterLayout, LoraConfig, all_finite

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"

# Bytes; one adapter of 1,000 layers has a header of 250,000.
_HEADER_LIMIT = 2**22
_CONFIG_LIMIT = 2**20
_PREFIX = "base_model.model."
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CONVERT = "convert the adapter to float32, bfloat16 or float16"
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Settings that say nothing about the numbers of a finished adapter, whatever they hold.
_WITHOUT_EFFECT = (
    "auto_mapping",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
)


class PeftConfig(BaseModel):
    """What we read of an ``adapter_config.json``; it is never given to PEFT.

    PEFT acts on it: ``"init_lora_weights": "pissa"`` changes the base model's weights for good,
    and a pattern in ``target_modules`` can keep it busy for ever.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)

    peft_type: Literal["LORA"]
    base_model_name_or_path: str | None = None
    r: int = Field(ge=1, le=512)
    lora_alpha: float = Field(gt=0)
    target_modules: tuple[str, ...] = Field(min_length=1)
    bias: Literal["none"] = "none"
    init_lora_weights: bool | Literal["gaussian"] = True

    @property
    def lora(self) -> LoraConfig:
        """The LoRA settings, as ours."""
        return LoraConfig(self.r, self.lora_alpha, tuple(sorted(self.target_modules)))


def read_config(content: bytes, source: str) -> PeftConfig:
    """Return what an ``adapter_config.json`` says.

    Args:
        content: The file's bytes.
        source: What the file is called in errors.

    Raises:
        ValueError: If it is none, or asks for more than plain LoRA.
    """
    try:
        config = PeftConfig.model_validate_json(content.removeprefix(_BYTE_ORDER_MARK))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"]))
        what = problem["msg"]
        if field == "target_modules":
            what = f"must be a list of names, not {str(problem['input'])[:80]!r}"
        raise ValueError(
            f"{source}: field '{field}': {what}; only plain LoRA adapters can be read"
        ) from error
    for name, value in (config.model_extra or {}).items():
        if value and name not in _WITHOUT_EFFECT:
            raise ValueError(
                f"{source}: '{name}' is {str(value)[:80]!r}; only plain LoRA adapters can be read"
            )
    return config


def config_json(lora: LoraConfig, base_model: str) -> bytes:
    """Return the ``adapter_config.json`` of an adapter, as PEFT, vLLM and SGLang read it.

    Args:
        lora: Its settings.
        base_model: Name or folder of its base model.
    """
    alpha = int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha
    fields = {
        "alpha_pattern": {},
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_to_transform": None,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": lora.rank,
        "rank_pattern": {},
        "target_modules": sorted(lora.target_modules),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    return json.dumps(fields, indent=2).encode()


def adapter_bytes(row: Tensor, layout: AdapterLayout) -> bytes:
    """Return the ``adapter_model.safetensors`` of a row, as PEFT's ``save_pretrained`` writes it.

    Args:
        row: The adapter, shape ``(num_params,)``, in the dtype in which it is written.
        layout: Where its matrices lie.
    """
    return safetensors.torch.save(layout.split(row.contiguous()), metadata={"format": "pt"})


def read_settings(path_or_url: str | os.PathLike[str]) -> LoraConfig:
    """Return the LoRA settings of the adapter in a PEFT folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or more than plain LoRA.
    """
    return _read_settings(StoreFiles(path_or_url, follow_links=True))


def _read_settings(files: StoreFiles) -> LoraConfig:
    _require(files, CONFIG_FILE)
    return read_config(files.read(CONFIG_FILE, stop=_CONFIG_LIMIT), files.path(CONFIG_FILE)).lora


def read_adapter(
    path_or_url: str | os.PathLike[str], layout: AdapterLayout, lora: LoraConfig
) -> Tensor:
    """Return the adapter in a PEFT folder, shape ``(num_params,)``, float32.

    The doubled prefix that PEFT writes for a model which was wrapped twice is taken away.

    Args:
        path_or_url: The folder, or any fsspec URL of one.
        layout: The adapter's modules and their order.
        lora: The settings that it must have.

    Raises:
        FileNotFoundError: If one of its two files is not there.
        ValueError: If they are damaged, too large, or of another model or other settings.
    """
    # Snapshots of the hub are folders of links.
    files = StoreFiles(path_or_url, follow_links=True)
    found = _read_settings(files)
    for setting in ("rank", "alpha"):
        ours, theirs = getattr(lora, setting), getattr(found, setting)
        if ours != theirs:
            raise ValueError(
                f"{files.path(CONFIG_FILE)}: has {setting} {theirs}, expected {ours}; set the "
                f"LoRA {setting} to {theirs}, or use another adapter"
            )
    _require(files, WEIGHTS_FILE)
    check_sizes(files, WEIGHTS_FILE, layout)
    return adapter_row(files.read(WEIGHTS_FILE), layout, files.path(WEIGHTS_FILE))


def _require(files: StoreFiles, name: str) -> None:
    if files.exists(name):
        return
    pickles = [found for found in files.names() if found.endswith(PICKLE_SUFFIXES)]
    if name == WEIGHTS_FILE and pickles:
        raise ValueError(
            f"{files.path(pickles[0])}: a pickle can run code when it is read, so it is not; "
            "convert it where you trust it: load it with PEFT, and save_pretrained writes "
            f"{WEIGHTS_FILE}"
        )
    raise FileNotFoundError(f"{files.path(name)}: no such file; PEFT's save_pretrained writes it")


def adapter_row(content: bytes, layout: AdapterLayout, source: str) -> Tensor:
    """Return the adapter in a safetensors file's bytes, shape ``(num_params,)``, float32.

    Args:
        content: The file's bytes.
        layout: The adapter's modules and their order.
        source: What the file is called in errors.

    Raises:
        ValueError: If it is damaged, not of this layout, or holds numbers that float32 cannot.
    """
    try:
        tensors = safetensors.torch.load(content)
    except SafetensorError as error:
        raise ValueError(f"{source}: is no whole safetensors file ({error})") from error
    except KeyError as error:
        raise ValueError(f"{source}: holds numbers of type {error}; {_CONVERT}") from error
    for key, tensor in tensors.items():
        if tensor.dtype not in _FLOATS:
            raise ValueError(f"{source}: tensor '{key}' is {tensor.dtype}; {_CONVERT}")
    row = layout.join(_without_doubled_prefix(tensors, source), source).to(torch.float32)
    if not all_finite(row):
        raise ValueError(f"{source}: holds numbers that are not finite in float32")
    return row


def check_sizes(files: StoreFiles, name: str, layout: AdapterLayout) -> None:
    """Refuse an adapter's file that would take much memory, before it takes any.

    Args:
        files: Where the file is.
        name: The file.
        layout: The adapter's modules.

    Raises:
        ValueError: If it, or its header, is larger than this layout can need.
    """
    header = int.from_bytes(files.read(name, stop=8), "little")
    largest = 8 + header + 8 * layout.num_params
    if header > _HEADER_LIMIT or files.size(name) > largest:
        raise ValueError(
            f"{files.path(name)}: has {files.size(name):,} bytes, and a header of {header:,}; that "
            "is too large for an adapter of this base model"
        )


def _without_doubled_prefix(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    doubled = 2 * _PREFIX
    repaired = {
        key.removeprefix(_PREFIX) if key.startswith(doubled) else key: tensor
        for key, tensor in tensors.items()
    }
    if len(repaired) < len(tensors):
        raise ValueError(f"{source}: holds the same tensors with and without a doubled prefix")
    return repaired
