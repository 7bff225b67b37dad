"""Checkpoints of the base model's training, written atomically and loaded without pickle."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import AdamW

Settings = Mapping[str, int | float | str]
_MOMENTS = ("exp_avg", "exp_avg_sq")


def save(
    checkpoint_dir: Path,
    model: nn.Module,
    optimizer: AdamW,
    step: int,
    settings: Settings,
) -> None:
    """Write a checkpoint after ``step`` steps, then remove earlier ones."""
    target = checkpoint_dir / f"step-{step:08d}"
    temporary = checkpoint_dir / f".{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    parameters = dict(model.named_parameters())
    save_file(_on_cpu(parameters), temporary / "parameters.safetensors")
    for moment in _MOMENTS:
        moments = {name: optimizer.state[value][moment] for name, value in parameters.items()}
        save_file(_on_cpu(moments), temporary / f"{moment}.safetensors")
    (temporary / "state.json").write_text(json.dumps({"step": step, "settings": dict(settings)}))
    older = list(checkpoint_dir.glob("step-*"))
    temporary.rename(target)
    for folder in older:
        shutil.rmtree(folder)


def restore(checkpoint_dir: Path, model: nn.Module, optimizer: AdamW, settings: Settings) -> int:
    """Load the latest checkpoint, if any, and return its number of steps.

    Raises:
        ValueError: If it was made with other settings.
    """
    latest = max(checkpoint_dir.glob("step-*"), default=None)
    if latest is None:
        return 0
    state = json.loads((latest / "state.json").read_text())
    if state["settings"] != dict(settings):
        raise ValueError(
            f"{latest}: made with settings {state['settings']}, not {dict(settings)}; "
            "give another --checkpoint-dir or the same settings"
        )
    parameters = dict(model.named_parameters())
    device = next(iter(parameters.values())).device
    stored = load_file(latest / "parameters.safetensors", device=str(device))
    moments = {
        moment: load_file(latest / f"{moment}.safetensors", device=str(device))
        for moment in _MOMENTS
    }
    step = torch.tensor(float(state["step"]))
    for name, parameter in parameters.items():
        parameter.data.copy_(stored[name])
        on_device = device if optimizer.defaults["fused"] else None
        optimizer.state[parameter] = {
            "step": step.clone().to(on_device),
            **{moment: moments[moment][name] for moment in _MOMENTS},
        }
    return int(state["step"])


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
