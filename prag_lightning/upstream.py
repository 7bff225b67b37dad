"""All private names of other libraries that we use.

Each docstring says what the name is for, why no public name works, and what would break it. A
release of the library may change such names without notice, so a test finds any use elsewhere.
Libraries are imported when needed, because every other file may import this one.
"""

from argparse import Action, HelpFormatter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from lightning.pytorch.cli import LightningArgumentParser
    from lightning.pytorch.strategies import DDPStrategy
    from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
    from torch import Tensor, nn
    from torch.nn import Module
    from transformers import PreTrainedModel

    SubprocessLauncher = _SubprocessScriptLauncher
else:
    # The classes below are mixins, whose bases matter only to type checkers. Classes that use a
    # mixin list the real base after it.
    DDPStrategy = LightningArgumentParser = Module = object


def __getattr__(name: str) -> Any:
    """Return Lightning's launcher that runs the command line again for other processes.

    There is no public class for this, and Lightning only ends processes of this launcher.
    Breaks if: ``launchers.subprocess_script`` or the class is renamed.
    """
    if name != "SubprocessLauncher":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning.pytorch.strategies.launchers import subprocess_script

    return subprocess_script._SubprocessScriptLauncher


def start_other_processes(launcher: "SubprocessLauncher") -> None:
    """Start the other processes of this node, which run the same command line.

    Lightning's ``launch`` starts them, too, but neither waits for them nor keeps their statuses.
    Breaks if: ``_call_children_scripts`` is renamed, or no longer fills ``launcher.procs``.
    """
    launcher._call_children_scripts()


class UnwrappedStrategy(DDPStrategy):
    """Mixin of a strategy that does not wrap the model in ``DistributedDataParallel``.

    This method is the only place where Lightning lets a strategy wrap the model.
    Breaks if: ``Strategy.setup`` calls another name; DDP would then fail for want of a process
    group.
    """

    def _setup_model(self, model: "nn.Module") -> "nn.Module":  # type: ignore[override]
        return model


class DeviceOnlyModule(Module):
    """Mixin of a module that moves between devices, but keeps the dtypes of its tensors.

    A parent's ``to``, ``half``, ``cuda`` and the like reach its children only by this method.
    Breaks if: torch renames ``Module._apply``; adapters would then take the base's dtype.
    """

    def _apply(self, fn: "Callable[[Tensor], Tensor]", recurse: bool = True) -> Any:
        return super()._apply(lambda tensor: tensor.to(fn(tensor.new_empty(0)).device), recurse)


class SettingsParser(LightningArgumentParser):
    """Mixin of a parser that groups its help in sections, and can change config files when read.

    argparse has a public way to add actions to groups, but none to show them in another order, or
    to list them; jsonargparse calls nothing public between reading a file and checking it.
    Breaks if: argparse renames ``_actions``, ``_action_groups`` or ``_group_actions`` (unchanged
    since Python 2.7), or jsonargparse ``_load_config_parser_mode``.
    """

    def sections(self, actions: list[Action]) -> Mapping[str, list[Action]]:
        """Return the sections of the help: titles, and the actions of each."""
        raise NotImplementedError

    def change_loaded(self, loaded: "Namespace") -> None:
        """Change the content of a config file before it is validated."""
        raise NotImplementedError

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """Return the help, in sections."""
        groups = self._action_groups
        self._action_groups = []
        try:
            for title, actions in self.sections(self._actions).items():
                self.add_argument_group(title)._group_actions = actions
            return super().format_help(formatter)
        finally:
            self._action_groups = groups

    def _load_config_parser_mode(self, *args: Any, **kwargs: Any) -> "Namespace":
        loaded = super()._load_config_parser_mode(*args, **kwargs)
        self.change_loaded(loaded)
        return loaded


def attention_of(base: "PreTrainedModel") -> str:
    """Return the name of the attention that a model runs, as ``set_attn_implementation`` takes it.

    transformers has a public way to set it, but none to read it.
    Breaks if: the property is renamed; transformers' own models read it in every layer.
    """
    name: str = base.config._attn_implementation
    return name


def int8_scales_of(weight: Any) -> "Tensor | None":
    """Return the scales of an 8-bit weight of bitsandbytes; None for any other weight.

    Their shape is ``(out_features,)``.

    Its documentation names the scales of 4-bit weights (``quant_state``), but not these.
    Breaks if: the attribute is renamed; a base in 8 bits would then have another digest.
    """
    return getattr(weight, "SCB", None)


def keep_size(tensor: "Tensor", dim: int) -> None:
    """Tell ``torch.compile`` that a dimension always has this size.

    Args:
        tensor: Of any shape.
        dim: The dimension.

    PyTorch's documentation of dynamic shapes names this function; ``torch.compiler`` does not
    export it yet.
    Breaks if: it is moved to ``torch.compiler``.
    """
    import torch

    torch._dynamo.mark_static(tensor, dim)


def silence_ray() -> None:
    """Keep Ray from printing every event of the cluster, such as the death of a worker.

    Ray passes on what its workers print only if asked (``log_to_driver``), but there is no setting
    for its own messages, of a dozen lines each. What matters of them is in the errors it raises.
    Breaks if: ``print_to_stdstream`` is renamed; the messages would be printed again.
    """
    import logging

    from ray._private import worker

    worker.print_to_stdstream = lambda *_, **__: None
    for name in ("ray", "ray._private.worker"):
        logging.getLogger(name).setLevel(logging.ERROR)
