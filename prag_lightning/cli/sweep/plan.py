"""The runs of a sweep: settings (parsed as by ``prag fit``), folders and stores."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from prag_lightning.adapters.store.recipe import digest_text
from prag_lightning.answering.questions import parse_methods
from prag_lightning.cli.sweep.axes import combinations, read_axis, run_name
from prag_lightning.cli.trainer import PragCLI
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.module import ParametricRAG

# Settings that the sweep itself sets for every run.
_ITS_OWN = ("config", "trainer.default_root_dir", "model.store")


class PlannedRun(NamedTuple):
    """One combination of settings.

    Args:
        swept: Its values of the swept settings.
        folder: Its root folder.
        store: Folder of its adapters; runs with the same adapters share one.
        words: Command line, without the command.
        settings: All its settings, nested.
        methods: The methods that answer; None for all that the questions allow.
        digest: Digest of all its settings.
    """

    swept: dict[str, str]
    folder: Path
    store: Path
    words: list[str]
    settings: dict[str, Any]
    methods: list[str] | None
    digest: str


class SweepPlanner(PragCLI):
    """Parses settings and instantiates their objects, but runs nothing.

    Args:
        words: The settings shared by all runs, as on the command line of ``prag fit``.

    Raises:
        ValueError: If they include settings that the sweep sets itself.
    """

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(["fit", *words])
        self._words = list(words)
        self.folder = Path(self.trainer.default_root_dir) / "sweep"
        settings = self.config.fit
        if settings.model.store is not None:
            raise ValueError("model.store is set, but a sweep has a store for every recipe; unset")
        if settings.data.warm_up is not None:
            raise ValueError(
                "data.warm_up is set, but a warm start answers nothing; train it with `prag fit`, "
                "and sweep over warm_start.path"
            )

    def fit(self, **settings: object) -> None:
        """Do nothing, in place of the Trainer's method."""

    def plan(self, overs: Sequence[str]) -> list[PlannedRun]:
        """Return all runs.

        Args:
            overs: The axes, each as ``KEY=VALUE,VALUE``.

        Raises:
            ValueError: If a key or a value is invalid.
        """
        known = set(self.command_parser.get_defaults().keys())
        axes = [read_axis(over, known) for over in overs]
        for axis in axes:
            if axis.key in _ITS_OWN:
                raise ValueError(f"--over {axis.key}: a sweep chooses it itself for every run")
        return [self._plan(swept) for swept in combinations(axes)]

    def _plan(self, swept: dict[str, str]) -> PlannedRun:
        folder = self.folder / run_name(swept)
        settings = {**swept, "trainer.default_root_dir": str(folder)}
        words = [*self._words, *(f"--{key}={value}" for key, value in settings.items())]
        self.parse_arguments(self.parser, ["fit", *words])
        self.before_instantiate_classes()
        self._refuse_some_questions()
        self.instantiate_classes()
        self.after_instantiate_classes()
        store = self.folder / "adapters" / self._store_key()
        config = self.command_parser.dump(self.config.fit, skip_none=False)
        digest = digest_text(config, str(store))
        methods = self.config.fit.data.methods
        return PlannedRun(
            swept,
            folder,
            store,
            [*words, f"--model.store={store}"],
            yaml.safe_load(config),
            None if methods is None else [*parse_methods(methods)],
            digest,
        )

    def _refuse_some_questions(self) -> None:
        settings = self.config.fit.trainer
        if settings.fast_dev_run or settings.limit_test_batches not in (None, 1.0):
            raise ValueError(
                "trainer.limit_test_batches or fast_dev_run is set, but a sweep scores all "
                "questions that it asks; give --data.limit to ask fewer"
            )

    def _store_key(self) -> str:
        """Return a key of all settings that determine the adapters of a run."""
        warm_start, writer = self.config_init.fit.warm_start, self.config_init.fit.adapter_writer
        module, data = cast(ParametricRAG, self.model), cast(DocumentDataModule, self.datamodule)
        module.use_warm_start(warm_start.source)
        settings = self.config.fit.data
        training = {**data.training_settings(), "precision": str(self.trainer.precision)}
        source = [
            module.recipe_settings(data.training_encoder, training),
            settings.folder,
            settings.augmentations,
            writer.layout,
            writer.dtype,
        ]
        return digest_text(json.dumps(source))[:12]
