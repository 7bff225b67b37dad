"""Finds unknown settings of fit, test and predict before any large library is imported.

Importing Lightning, which validates the rest, takes seconds.
"""

import re
from collections.abc import Sequence

from prag_lightning.cli.suggestion import did_you_mean

# Settings, and sections of settings.
SECTIONS = (
    *("adapter_writer", "config", "data", "engine", "evaluation", "help", "help-trainer"),
    *("model", "print_config", "ray", "return_predictions", "seed_everything", "trainer"),
    "warm_start",
)
# Settings of `fit` that may be given without their section.
_SHORT = {"--shard": "--data.shard"}


def in_full(command: str, words: Sequence[str]) -> list[str]:
    """Return words with short forms written out.

    Args:
        command: ``fit``, ``test`` or ``predict``.
        words: What follows it.

    >>> in_full("fit", ["--shard", "3/16"]), in_full("fit", ["--shard=3/16"])
    (['--data.shard', '3/16'], ['--data.shard=3/16'])
    """
    if command != "fit":
        return list(words)
    split = (word.partition("=") for word in words)
    return ["".join((_SHORT.get(name, name), *value)) for name, *value in split]


def refuse_unknown_words(command: str, words: Sequence[str]) -> None:
    """Check the words of a command that runs a Trainer.

    Args:
        command: Its name.
        words: What follows it.

    Raises:
        ValueError: If a word is not a setting, nor in a section of settings.
    """
    help_hint = f"they are in sections, as --model.lr; `prag {command} --help` lists them"
    if words and not words[0].startswith("-"):
        raise ValueError(
            f"{command} takes settings, and '{words[0]}' is none; for a file or a shipped "
            f"experiment write --config {words[0]}"
        )
    for word in words:
        section = re.split(r"[.=+]", word.removeprefix("--"), maxsplit=1)[0]
        if not word.startswith("--") or any(known.startswith(section) for known in SECTIONS):
            continue
        hint = did_you_mean(section, SECTIONS, help_hint)
        raise ValueError(f"{command} has no setting --{section}; {hint}")
