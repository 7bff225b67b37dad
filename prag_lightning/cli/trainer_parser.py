"""The parser of commands that run a Trainer, with help that groups settings by purpose."""

from argparse import Action
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from prag_lightning.callbacks import AdapterWriter
from prag_lightning.cli.one_line_parser import OneLineErrors
from prag_lightning.module import ParametricRAG
from prag_lightning.upstream import SettingsParser

# Arguments that are Python objects, which cannot be given on a command line.
_PYTHON_ONLY = {ParametricRAG: {"tokenizer"}, AdapterWriter: {"store"}}
_TRAINER = "Lightning's Trainer"
# Sections of the help, with their settings.
_SECTIONS: dict[str, tuple[str, ...]] = {
    "run": (
        *("help", "config", "print_config", "trainer.default_root_dir", "trainer.accelerator"),
        *("trainer.devices", "trainer.precision", "engine", "seed_everything"),
        "return_predictions",
    ),
    "documents": (
        *("data.folder", "data.augmentations", "data.augmenter", "data.num_rewrites"),
        "data.num_qas",
    ),
    "questions": (
        *("data.questions", "data.validation_questions", "data.methods", "data.limit"),
        *("data.retriever", "data.top_k", "data.question_batch_size"),
    ),
    "encoding": (
        *("model.num_slots", "data.passes", "data.batch_size", "model.lr", "model.weight_decay"),
        *("model.max_grad_norm", "data.objective", "data.loss_on", "data.passage_in_prompt"),
        *("data.num_strangers_questions", "data.num_unanswerable"),
        *("data.few_shot_in_training", "data.packed"),
        *("model.compile", "warm_start.path", "warm_start.seed", "data.warm_up"),
        *("data.max_tokens", "data.num_workers"),
    ),
    "answering": (
        *("data.template", "data.exemplars", "model.max_new_tokens", "model.decoding"),
        *("evaluation.merge", "evaluation.scoring", "evaluation.on_missing"),
    ),
    "model": ("model.base", "model.dtype", "model.quantization", "model.trust_remote_code"),
    "store": ("model.store",),
    "Ray cluster": ("ray.address", "ray.num_workers"),
    _TRAINER: (),
}
# The section of settings that are not named above.
_OTHERWISE = {
    "data": "documents",
    "warm_start": "encoding",
    "evaluation": "answering",
    "model": "model",
    "adapter_writer": "store",
    "ray": "Ray cluster",
    "trainer": _TRAINER,
}
_CLASSES = {*_OTHERWISE, "model.lora"}


class TrainerParser(OneLineErrors, SettingsParser, LightningArgumentParser):
    """The parser of commands that run a Trainer."""

    # Whether help shows the Trainer's settings instead of ours.
    helps_with_trainer = False

    def add_class_arguments(self, theclass: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the arguments of a class, except those that only Python can give."""
        skip = {*(kwargs.pop("skip", None) or ()), *_PYTHON_ONLY.get(theclass, ())}
        return super().add_class_arguments(theclass, *args, skip=skip, **kwargs)

    def change_loaded(self, loaded: Namespace) -> None:
        """Drop empty sections, which are null in YAML, and refuse those that are one value.

        Raises:
            TypeError: If a section is a number, say, or a list.
        """
        for section in _CLASSES:
            value = loaded.get(section, {})
            if value is None:
                del loaded[section]
            # A word may be the file of a section, which is looked for later.
            elif not isinstance(value, Namespace | dict | str):
                raise TypeError(f"{section} takes settings, a `name: value` each. Got: {value}")

    def sections(self, actions: list[Action]) -> dict[str, list[Action]]:
        """Group settings by purpose."""
        shown = [title for title in _SECTIONS if (title == _TRAINER) == self.helps_with_trainer]
        # Without derived settings, and without those that take a file for a whole class, because
        # --config does so for all of them.
        settings = [a for a in actions if a.option_strings and a.dest not in _CLASSES]
        sections = {}
        for title in shown:
            here = [action for action in settings if _section(action.dest) == title]
            sections[title] = sorted(here, key=lambda action: _place(title, action))
        return sections


def _section(key: str) -> str:
    """Return the title under which help shows a setting."""
    named = (title for title, keys in _SECTIONS.items() if key in keys)
    return next(named, _OTHERWISE.get(key.partition(".")[0], "run"))


def _place(title: str, action: Action) -> int:
    keys = _SECTIONS[title]
    return keys.index(action.dest) if action.dest in keys else len(keys)
