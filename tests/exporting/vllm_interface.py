"""What vLLM's LoRA resolvers meet: its own files, or what they promise."""

import importlib.util
import logging
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@dataclass
class PromisedRequest:
    """What ``LoRARequest`` of vllm/lora/request.py (0.33) takes and checks."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    base_model_name: str | None = None
    load_inplace: bool = False
    is_3d_lora_weight: bool = False

    def __post_init__(self) -> None:
        if self.lora_int_id < 1:
            raise ValueError(f"id must be > 0, got {self.lora_int_id}")
        assert self.lora_path


@dataclass
class PromisedRegistry:
    """What ``LoRAResolverRegistry`` of vllm/lora/resolver.py (0.33) does."""

    resolvers: dict[str, Any] = field(default_factory=dict)

    def register_resolver(self, resolver_name: str, resolver: Any) -> None:
        self.resolvers[resolver_name] = resolver

    def get_resolver(self, resolver_name: str) -> Any:
        return self.resolvers[resolver_name]


def install(monkeypatch: pytest.MonkeyPatch, wheel: Path | None) -> Any:
    """Make ``vllm.lora.resolver`` and ``vllm.lora.request`` importable; return the registry.

    Args:
        monkeypatch: Takes them away again.
        wheel: A wheel of vLLM, whose own files are used; None for what they promise.
    """

    def module(name: str, **contents: Any) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(contents)
        monkeypatch.setitem(sys.modules, name, made)
        return made

    module("vllm")
    module("vllm.lora")
    if wheel is None:
        module("vllm.lora.request", LoRARequest=PromisedRequest)
        registry = PromisedRegistry()
        module("vllm.lora.resolver", LoRAResolverRegistry=registry)
        return registry
    module("vllm.logger", init_logger=logging.getLogger)
    with zipfile.ZipFile(wheel) as archive:
        module("vllm.config")
        module("vllm.config.lora", LoRAConfig=object)
        # The resolver imports the request.
        for name in ("request", "resolver", "peft_helper"):
            source = archive.read(f"vllm/lora/{name}.py").decode()
            made = module(f"vllm.lora.{name}")
            exec(compile(source, f"vllm/lora/{name}.py", "exec"), vars(made))
    return sys.modules["vllm.lora.resolver"].LoRAResolverRegistry


def has_msgspec() -> bool:
    return importlib.util.find_spec("msgspec") is not None
