"""Adapters in PEFT's format: ``adapter_model.safetensors`` and ``adapter_config.json``."""

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

# In bytes; the header of an adapter of 1,000 layers takes 250,000.
_HEADER_LIMIT = 2**22
_CONFIG_LIMIT = 2**20
_PREFIX = "base_model.model."
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CONVERT = "convert the adapter to float32, bfloat16 or float16"
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# Settings that do not affect a finished adapter, whatever their values.
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
    """The fields we read from an ``adapter_config.json``, which is never passed to PEFT.

    PEFT would act on it: ``"init_lora_weights": "pissa"`` permanently changes the base model's
    weights, and a regular expression in ``target_modules`` can take forever to match.
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
        """The LoRA settings as a `LoraConfig`."""
        return LoraConfig(self.r, self.lora_alpha, tuple(sorted(self.target_modules)))


def read_config(content: bytes, source: str) -> PeftConfig:
    """Parse an ``adapter_config.json``.

    Args:
        content: Contents of the file.
        source: Name of the file in error messages.

    Raises:
        ValueError: If it is not a valid configuration, or needs more than plain LoRA.
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
        lora: Settings of the adapter.
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
    """Serialize an adapter to an ``adapter_model.safetensors``, as ``save_pretrained`` does.

    Args:
        row: The adapter, shape ``(num_params,)``, in the dtype to write.
        layout: Memory layout of the adapter.
    """
    return safetensors.torch.save(layout.split(row.contiguous()), metadata={"format": "pt"})


def read_settings(path_or_url: str | os.PathLike[str]) -> LoraConfig:
    """Return the LoRA settings of the adapter in a PEFT folder.

    Raises:
        FileNotFoundError: If there is no adapter.
        ValueError: If it is damaged, or uses more than plain LoRA.
    """
    return _read_settings(StoreFiles(path_or_url, follow_links=True))


def _read_settings(files: StoreFiles) -> LoraConfig:
    _require(files, CONFIG_FILE)
    return read_config(files.read(CONFIG_FILE, stop=_CONFIG_LIMIT), files.path(CONFIG_FILE)).lora


def read_adapter(
    path_or_url: str | os.PathLike[str], layout: AdapterLayout, lora: LoraConfig
) -> Tensor:
    """Return the adapter in a PEFT folder, shape ``(num_params,)``, float32.

    The doubled prefix that PEFT writes for a model that was wrapped twice is removed.

    Args:
        path_or_url: The folder, as a path or any fsspec URL.
        layout: Modules of the adapter and their order.
        lora: The settings that the adapter must have.

    Raises:
        FileNotFoundError: If one of its two files is missing.
        ValueError: If they are damaged, too large, or belong to another model or other settings.
    """
    # Snapshots in the Hugging Face cache consist of symbolic links.
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
    """Return the adapter in a safetensors file, shape ``(num_params,)``, float32.

    Args:
        content: Contents of the file.
        layout: Modules of the adapter and their order.
        source: Name of the file in error messages.

    Raises:
        ValueError: If it is damaged, does not match the layout, or exceeds the range of float32.
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
    """Check the size of an adapter's file before reading it, to limit memory use.

    Args:
        files: Folder that contains the file.
        name: Name of the file.
        layout: Layout of the adapter.

    Raises:
        ValueError: If the file or its header is larger than this layout can need.
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
