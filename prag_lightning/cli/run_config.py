"""Writes the settings of a run into its folder."""

from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from prag_lightning.documents.writing import write_whole
from prag_lightning.retrieval.address import without_passwords

# Defaults of Lightning's own callbacks, such as Timer's interval.
yaml.add_multi_representer(
    Enum, lambda dumper, member: dumper.represent_data(member.value), Dumper=yaml.SafeDumper
)
# Settings that may be paths; they are written as absolute paths, so that a run can be used from any
# folder.
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


class RunConfig(SaveConfigCallback):
    """Writes a run's settings to a file named after the command, and gives them to loggers.

    They are written once the run is accepted; a refused run leaves earlier settings unchanged.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Write nothing yet."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``fit.yaml``."""
        self.write(trainer, "fit")

    def on_test_end(self, trainer: Any, pl_module: LightningModule) -> None:
        """Write ``test.yaml`` or ``predict.yaml``, beside the results."""
        self.write(trainer, trainer.state.fn.value)

    on_predict_end = on_test_end

    def write(self, trainer: Any, name: str) -> None:
        """Write the settings into the Trainer's root folder.

        Args:
            trainer: The Trainer.
            name: Name of the command.
        """
        if trainer.is_global_zero:
            config = self.config.clone()
            for key in _PATHS:
                value = config.get(key)
                if isinstance(value, list):
                    config[key] = [_from_root(path) for path in value]
                elif value is not None:
                    config[key] = _from_root(value)
            settings = without_passwords(yaml.safe_load(self.parser.dump(config, skip_none=False)))
            text = yaml.safe_dump(settings, sort_keys=False)
            write_whole(Path(trainer.default_root_dir) / f"{name}.yaml", text)
            for logger in trainer.loggers:
                logger.log_hyperparams(settings)


def _from_root(value: Any) -> Any:
    """Return the value as an absolute path if it is a path that exists."""
    there = isinstance(value, str) and Path(value).exists()
    return str(Path(value).resolve()) if there else value
