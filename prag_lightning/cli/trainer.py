"""The commands that run a Trainer: ``prag fit``, ``prag test`` and ``prag predict``."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

from lightning import Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import SIGTERMException

from prag_lightning.answering.from_run import default_run_dir
from prag_lightning.answering.merge_choice import choice_file, read_choice
from prag_lightning.callbacks import (
    AdapterWriter,
    EncodingLog,
    MergedEvaluation,
    SlotFinder,
    StorageCheck,
    UnitProgressBar,
    WarmStart,
)
from prag_lightning.cli.exit_status import DONE, INTERRUPTED, SOME_FAILED, TERMINATED
from prag_lightning.cli.interruption import Interruption
from prag_lightning.cli.processes import require_all_processes, settings_for_processes
from prag_lightning.cli.quiet import quiet
from prag_lightning.cli.ray_engine import (
    ending_at_sigterm,
    listed_objects,
    refuse_local_settings,
    settings_of_driver,
    settings_of_workers,
)
from prag_lightning.cli.run_config import RunConfig
from prag_lightning.cli.trainer_parser import TrainerParser
from prag_lightning.cli.trainer_settings import listed_callbacks, refuse_trainer_settings
from prag_lightning.clusters.block_answerer import Stage
from prag_lightning.clusters.ray import encode_with_ray
from prag_lightning.clusters.ray_answers import answer_with_ray
from prag_lightning.clusters.workers import RayWorkers
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.encoding.per_document import (
    PerDocumentStrategy,
    refuse_averaging,
)
from prag_lightning.module import ParametricRAG

_TRAINER_HELP = "--help-trainer"
_DOES = {
    "fit": "Encode documents into adapters.",
    "test": "Answer questions with every method, and score the answers.",
    "predict": "Answer questions whose answers nobody knows.",
}
# Callbacks of every run, by the key of their settings.
_FORCED = {
    "warm_start": WarmStart,
    "adapter_writer": AdapterWriter,
    "evaluation": MergedEvaluation,
}


class PragCLI(LightningCLI):
    """LightningCLI with our model, our data, and the callbacks that every run needs."""

    def __init__(self, args: Sequence[str], interruption: Interruption | None = None) -> None:
        self._command = args[0]
        self._helps_with_trainer = _TRAINER_HELP in args
        self._interruption = interruption or Interruption()
        # Why documents have no adapter, by id, if the engine ray was to encode them.
        self.failures: dict[str, str] = {}
        self._ray_is_given = any(word.startswith("--ray.") for word in args)
        self._merge_is_given = any(word.startswith("--evaluation.merge") for word in args)
        super().__init__(
            ParametricRAG,
            DocumentDataModule,
            save_config_callback=RunConfig,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_class=TrainerParser,
            parser_kwargs={
                "prog": "prag",
                self._command: {
                    "description": _DOES[self._command],
                    "usage": f"prag {self._command} [--config FILE] [--SETTING VALUE ...]",
                    "epilog": f"Lightning's Trainer has settings of its own: "
                    f"`prag {self._command} {_TRAINER_HELP}` lists them.",
                },
            },
            trainer_defaults={
                "max_epochs": 1,
                "enable_checkpointing": False,
                "enable_model_summary": False,
                "logger": False,
            },
            args=["--help" if word == _TRAINER_HELP else word for word in args],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return only the requested command, as each parser takes a second, and what it skips."""
        # A checkpoint is a foreign pickle, and runs resume from the store instead. Our own table
        # shows more than Lightning's (`verbose`).
        own = {"ckpt_path", "weights_only", "verbose"}
        return {self._command: LightningCLI.subcommands()[self._command] | own}

    @property
    def _uses_ray(self) -> bool:
        return bool(self.config[self._command].engine == "ray")

    def fit(self, **settings: Any) -> None:
        """Run the command ``fit``, with the Trainer or with the workers of a Ray cluster."""
        if not self._uses_ray:
            self.trainer.fit(**settings)
            return
        made = self.config_init[self._command]
        # In the order of a local run.
        own = [EncodingLog(), *listed_objects(made.trainer), made.warm_start]
        callbacks = [*own, made.adapter_writer, SlotFinder()]
        with ending_at_sigterm():
            outcome = encode_with_ray(
                **self._settings_for_ray(), callbacks=callbacks, on_begin=self._write_config
            )
        self.failures.update(outcome.failures)

    def test(self, **settings: Any) -> None:
        """Run the command ``test``, in place of the Trainer's method."""
        if self._uses_ray:
            self._answer_with_ray("test")
        else:
            self.trainer.test(**settings, verbose=False)

    def predict(self, return_predictions: bool | None = None, **settings: Any) -> None:
        """Run the command ``predict``, with the Trainer or with the workers of a Ray cluster."""
        if not self._uses_ray:
            self.trainer.predict(**settings, return_predictions=return_predictions)
            return
        if return_predictions is not None:
            raise ValueError("return_predictions is for a local run; leave it out with the engine")
        self._answer_with_ray("predict")

    def _answer_with_ray(self, stage: Stage) -> None:
        made = self.config_init[self._command]
        callbacks = [*listed_objects(made.trainer), made.warm_start, made.evaluation]
        with ending_at_sigterm():
            answer_with_ray(**self._settings_for_ray(), callbacks=callbacks, stage=stage)
        self._write_config()

    def _settings_for_ray(self) -> dict[str, Any]:
        made = self.config_init[self._command]
        return {
            "module": self.model,
            "data": self.datamodule,
            "workers": made.ray,
            "root_dir": self.trainer.default_root_dir,
            "trainer": settings_of_workers(made.trainer),
            "seed": self.config[self._command].seed_everything,
            "shows_progress": made.trainer.enable_progress_bar is not False,
        }

    def _write_config(self) -> None:
        (config,) = (c for c in cast(Any, self.trainer).callbacks if isinstance(c, RunConfig))
        config.write(self.trainer, self._command)

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser; its help shows the Trainer's settings if requested."""
        # The last parser made is the command's.
        self.command_parser = super().init_parser(**kwargs)
        cast(TrainerParser, self.command_parser).helps_with_trainer = self._helps_with_trainer
        return self.command_parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the callbacks of every run, and link settings that model and data share."""
        for key, callback in _FORCED.items():
            parser.add_lightning_class_args(callback, key)
        parser.add_argument(
            "--engine",
            type=Literal["local", "ray"],
            default="local",
            help="What does the work: this process, or the workers of a Ray cluster.",
        )
        parser.add_class_arguments(RayWorkers, "ray")
        parser.link_arguments("model.base", "data.base")
        parser.link_arguments("model.trust_remote_code", "data.trust_remote_code")
        # `SlotFinder` later gives the data module the resolved number.
        parser.link_arguments("model.num_slots", "data.num_slots", lambda number: 1)

    def before_instantiate_classes(self) -> None:
        """Choose the run's folder, and reject our callbacks in the list: each would run twice."""
        settings = self.config[self._command].trainer
        if settings.default_root_dir is None:
            folder = self.config[self._command].data.folder
            settings.default_root_dir = str(default_run_dir(folder))
        if self._command != "fit" and not self._merge_is_given:
            self._take_choice(Path(settings.default_root_dir))
        own = {callback.__name__: key for key, callback in _FORCED.items()}
        refuse_trainer_settings(self._command, settings, own)
        if self._ray_is_given and not self._uses_ray:
            raise ValueError("the settings under 'ray' need --engine ray")
        if self._uses_ray:
            refuse_local_settings(settings, self.command_parser.get_defaults().trainer)
        self.trainer_defaults["callbacks"] = [SlotFinder(), StorageCheck()]
        has_bar = any("ProgressBar" in name for name in listed_callbacks(settings))
        if settings.enable_progress_bar is not False and not has_bar:
            self.trainer_defaults["callbacks"].append(UnitProgressBar())

    def _take_choice(self, run_dir: Path) -> None:
        """Use the merge rule that `prag tune` chose for the run, if any."""
        choice = read_choice(run_dir)
        if choice is not None:
            self.config[self._command].evaluation.merge = choice.merge
            print(f"adapters are merged as {choice_file(run_dir)} says (--evaluation.merge)")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the Trainer, for as many processes as were started.

        Raises:
            ValueError: If no Trainer can be made from these settings.
        """
        settings = self.config_init[self._command].trainer
        kwargs |= settings_of_driver() if self._uses_ray else settings_for_processes(settings)
        try:
            return super().instantiate_trainer(**kwargs)
        # What Lightning raises for invalid settings.
        except (TypeError, LookupError, AttributeError, AssertionError, RuntimeError) as error:
            raise ValueError(f"Lightning's Trainer refuses its settings: {error}") from error

    def after_instantiate_classes(self) -> None:
        """Reject settings that mix documents or leave processes out, before any run."""
        require_all_processes(self.trainer)
        if self._command == "fit":
            refuse_averaging(self.trainer.strategy)
        # Before the callbacks that save finished documents, which may take a while.
        cast(Any, self.trainer).callbacks[:0] = [self._interruption, EncodingLog()]


def run_trainer_command(args: Sequence[str]) -> int:
    """Run ``fit``, ``test`` or ``predict`` and return the exit status."""
    quiet()
    interruption = Interruption()
    interruption.listen()
    # SLURM's signal before the time limit: finished documents are saved, as after SIGTERM.
    signal.signal(signal.SIGUSR1, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        cli = PragCLI(args, interruption)
    except SIGTERMException:
        return TERMINATED
    except MisconfigurationException as error:
        # What the Trainer cannot do on this machine, such as using a missing GPU.
        raise ValueError(str(error)) from error
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
    return SOME_FAILED if writer.failures or cli.failures or others_failed else DONE
