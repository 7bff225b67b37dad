"""The commands that run a Trainer: ``prag fit``, ``prag test`` and ``prag predict``."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, cast

import yaml
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from prag_lightning.answering.from_run import default_run_dir
from prag_lightning.callbacks import (
    AdapterWriter,
    EncodingLog,
    MergedEvaluation,
    SlotFinder,
    UnitProgressBar,
    WarmStart,
)
from prag_lightning.cli.exit_status import DONE, INTERRUPTED, SOME_FAILED, TERMINATED, TRY_AGAIN
from prag_lightning.cli.one_line_parser import OneLineErrors
from prag_lightning.cli.quiet import quiet
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.writing import write_whole
from prag_lightning.encoding.per_document import (
    LostProcessError,
    PerDocumentStrategy,
    refuse_averaging,
)
from prag_lightning.module import ParametricRAG
from prag_lightning.retrieval.address import without_passwords

_FORCED = {
    "warm_start": WarmStart,
    "adapter_writer": AdapterWriter,
    "evaluation": MergedEvaluation,
}
# Arguments that are objects, which a command line cannot give.
_PYTHON_ONLY = {ParametricRAG: {"tokenizer"}, AdapterWriter: {"store"}}
# Settings that may be paths; a run's settings hold them from the root, so that it can be asked from
# any folder.
_PATHS = (
    "data.folder",
    "data.augmentations",
    "data.questions",
    "data.validation_questions",
    "data.exemplars",
    "data.template",
    "data.warm_up",
    "model.base",
    "model.store",
    "warm_start.path",
)


class TrainerParser(OneLineErrors, LightningArgumentParser):
    """The parser of the commands that run a Trainer."""

    def add_class_arguments(self, theclass: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the arguments of a class, but for those that only Python can give."""
        skip = {*(kwargs.pop("skip", None) or ()), *_PYTHON_ONLY.get(theclass, ())}
        return super().add_class_arguments(theclass, *args, skip=skip, **kwargs)

    def validate(self, namespace: Any, skip_unset: bool = False, **kwargs: Any) -> None:
        """Check settings, those of a file that are ``null`` included."""
        super().validate(namespace, skip_unset=False, **kwargs)


class RunConfig(SaveConfigCallback):
    """Writes a run's settings to a file named after the command under its root folder.

    They are written once the run is accepted: a refused one leaves those of the run before.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Write nothing yet."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``fit.yaml``."""
        self._write(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``test.yaml`` or ``predict.yaml``, beside the results."""
        self._write(trainer)

    on_predict_end = on_test_end

    def _write(self, trainer: Any) -> None:
        if trainer.is_global_zero:
            config = self.config.clone()
            for key in _PATHS:
                value = config.get(key)
                if isinstance(value, str) and Path(value).exists():
                    config[key] = str(Path(value).resolve())
            text = yaml.safe_dump(
                without_passwords(yaml.safe_load(self.parser.dump(config, skip_none=False))),
                sort_keys=False,
            )
            write_whole(Path(trainer.default_root_dir) / f"{trainer.state.fn.value}.yaml", text)


class Interruption(Callback):
    """Ctrl-C: the first ends a run when what is finished is saved, the second ends it at once."""

    happened = False

    def listen(self) -> None:
        """Take the signal over."""
        signal.signal(signal.SIGINT, self._interrupt)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Listen for the second one, which Lightning would ignore."""
        if self.happened:
            self.listen()

    def _interrupt(self, *_: Any) -> NoReturn:
        if self.happened:
            # The store is whole at any moment.
            os._exit(INTERRUPTED)
        self.happened = True
        raise KeyboardInterrupt


class PragCLI(LightningCLI):
    """LightningCLI with our model, our data, and the callbacks that every run needs."""

    def __init__(self, args: Sequence[str], interruption: Interruption | None = None) -> None:
        self._command = args[0]
        self._interruption = interruption or Interruption()
        super().__init__(
            ParametricRAG,
            DocumentDataModule,
            save_config_callback=RunConfig,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=TrainerParser,
            parser_kwargs={"prog": "prag"},
            trainer_defaults={
                "max_epochs": 1,
                "enable_checkpointing": False,
                "enable_model_summary": False,
                "logger": False,
            },
            args=list(args),
        )

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        """Build the parser of the asked command only: each takes a second."""
        # A checkpoint is a foreign pickle, and no run could go on from it: the store is what it
        # goes on from. Our own table says more than Lightning's (`verbose`).
        own = {"ckpt_path", "weights_only", "verbose"}
        skipped = LightningCLI.subcommands()[self._command] | own
        self.subcommands = lambda: {self._command: skipped}  # type: ignore[method-assign]
        super()._add_subcommands(parser, **kwargs)

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        kwargs = super()._prepare_subcommand_kwargs(subcommand)
        return {**kwargs, "verbose": False} if subcommand == "test" else kwargs

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run, and what model and data share."""
        for key, callback in _FORCED.items():
            parser.add_lightning_class_args(callback, key)
        parser.link_arguments("model.base", "data.base")
        # `SlotFinder` gives the data module what the model's setting comes to.
        parser.link_arguments("model.num_slots", "data.num_slots", lambda number: 1)

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder, and refuse our callbacks listed: each would run twice."""
        settings = self._get(self.config, "trainer")
        if settings.default_root_dir is None:
            folder = self._get(self.config, "data.folder")
            settings.default_root_dir = str(default_run_dir(folder))
        self.trainer_defaults["callbacks"] = [SlotFinder(), EncodingLog()]
        if self._get(self.config, "trainer.enable_progress_bar") is not False:
            self.trainer_defaults["callbacks"].append(UnitProgressBar())
        listed = self._get(self.config, "trainer.callbacks") or []
        for spec in listed if isinstance(listed, list) else [listed]:
            name = spec.class_path.rpartition(".")[2]
            for key, callback in _FORCED.items():
                if name == callback.__name__:
                    raise ValueError(
                        f"{name} is listed in trainer.callbacks, but every run has one already; "
                        f"give its settings under the key '{key}'"
                    )

    def after_instantiate_classes(self) -> None:
        """Refuse a strategy that mixes documents before it starts processes."""
        if self._command == "fit":
            refuse_averaging(self.trainer.strategy)
        # Before those that save what is finished, which may take its time.
        cast(Any, self.trainer).callbacks.insert(0, self._interruption)


def run_trainer_command(args: Sequence[str]) -> int:
    """Run ``fit``, ``test`` or ``predict`` and return the exit status."""
    quiet()
    interruption = Interruption()
    interruption.listen()
    try:
        cli = PragCLI(args, interruption)
    except SIGTERMException:
        return TERMINATED
    except MisconfigurationException as error:
        # What the Trainer cannot do here, such as a GPU that is not there.
        raise ValueError(str(error)) from error
    except LostProcessError as error:
        print(f"prag: {error}", file=sys.stderr)
        return TRY_AGAIN
    except SystemExit as stop:
        # Lightning ends an interrupted run with status 1.
        if interruption.happened:
            return INTERRUPTED
        if isinstance(stop.__context__, BrokenPipeError):
            raise
        return int(stop.code or 0)
    callbacks = cast(Any, cli.trainer).callbacks
    writer = next(c for c in callbacks if isinstance(c, AdapterWriter))
    strategy = cli.trainer.strategy
    others_failed = isinstance(strategy, PerDocumentStrategy) and strategy.some_failed
    return SOME_FAILED if writer.failures or others_failed else DONE
