"""The command ``prag``: a thin dispatcher, so that help is instant."""

import os
import sys
from collections.abc import Sequence

from prag_lightning import __version__
from prag_lightning.cli.configs import checked_config, with_config_files
from prag_lightning.cli.ending import fail, make_output_safe, status_after, without_traceback_option
from prag_lightning.cli.exit_status import DONE, USAGE
from prag_lightning.cli.suggestion import did_you_mean
from prag_lightning.cli.trainer_words import in_full, refuse_unknown_words
from prag_lightning.cli.uncollected import uncollected

TRAINER_COMMANDS = {
    "fit": "encode documents into adapters",
    "test": "answer questions with every method, and score the answers",
    "predict": "answer questions whose answers nobody knows",
}
# Commands with their own parsers, for flags and optional words, which auto_cli does not support.
_OWN_PARSERS = ("ask", "configs", "report", "serve", "store", "sweep")
# For each command, the function that runs it, or several by name, and a description.
COMMANDS: dict[str, tuple[str, str]] = {
    "ask": (
        "prag_lightning.cli.ask:run_ask",
        "answer a question, and show the evidence",
    ),
    "serve": (
        "prag_lightning.cli.serve:run_serve",
        "answer over HTTP, in OpenAI's interface and on a page",
    ),
    "sweep": (
        "prag_lightning.cli.sweep.command:run_sweep",
        "run an experiment with every combination of settings",
    ),
    "tune": (
        "prag_lightning.cli.tune:tune",
        "choose a run's merge rule on questions that are not tested on",
    ),
    "augment": (
        "prag_lightning.cli.augment:AUGMENT_COMMANDS",
        "make rewrites and question-answer pairs of documents",
    ),
    "index": ("prag_lightning.cli.index:INDEX_COMMANDS", "make a corpus searchable"),
    "data": ("prag_lightning.cli.data:DATA_COMMANDS", "bring data sets into our form"),
    "configs": (
        "prag_lightning.cli.configs:run_configs",
        "list the shipped experiments, or print one",
    ),
    "report": (
        "prag_lightning.cli.report:run_report",
        "show what runs have to show, on a page and in tables",
    ),
    "base": (
        "prag_lightning.cli.base:BASE_COMMANDS",
        "merge an adapter into a base model, look after converted GGUF files",
    ),
    "store": ("prag_lightning.cli.store:run_store", "look after a store of adapters"),
}


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    ``--traceback`` anywhere, or the environment variable ``PRAG_TRACEBACK``, shows where an error
    was raised.
    """
    given = list(sys.argv[1:] if args is None else args)
    words, shows_traceback = without_traceback_option(given)
    make_output_safe()
    try:
        status = _run(words)
        # Flush, so that a closed pipe is noticed here rather than when Python exits.
        print(end="", flush=True)
    except BaseException as error:
        return status_after(error, shows_traceback)
    return status


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return DONE
    if words[0] in ("-V", "--version"):
        print(f"prag {__version__}")
        return DONE
    command = words[0]
    # Let waiting threads sleep: if they spin, two runs on one machine take ten times as long. It
    # must be set before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Users keep their own retrievers and merge rules in files beside the data.
    sys.path.append(os.getcwd())
    if command in TRAINER_COMMANDS:
        words = [command, *in_full(command, words[1:])]
        # Report unknown words before torch is imported, which takes seconds.
        refuse_unknown_words(command, words[1:])
        words = with_config_files(words)
        with uncollected():
            from prag_lightning.cli.trainer import run_trainer_command

        return run_trainer_command(words)
    if command in COMMANDS:
        return _run_function(command, words[1:])
    known = [*TRAINER_COMMANDS, *COMMANDS]
    hint = did_you_mean(command, known, "`prag --help` lists the commands")
    return fail(f"there is no command '{command}'; {hint}", USAGE)


def _help() -> str:
    lines = ["usage: prag COMMAND [OPTIONS]", "", "Documents as LoRA adapters.", ""]
    texts = {**TRAINER_COMMANDS, **{name: text for name, (_, text) in COMMANDS.items()}}
    lines += [f"  {name:<10} {text}" for name, text in texts.items()]
    lines += ["", "`prag COMMAND --help` lists a command's options; `prag --version` the version."]
    lines += ["`--traceback` with any command shows where an error was raised."]
    return "\n".join(lines)


def _run_function(command: str, args: list[str]) -> int:
    from importlib import import_module

    module, name = COMMANDS[command][0].split(":")
    function = getattr(import_module(module), name)
    if command in _OWN_PARSERS:
        return int(function(args))
    # Files without settings are reported by name.
    args = with_config_files(args, checked_config)
    from jsonargparse import auto_cli

    from prag_lightning.cli.one_line_parser import OneLineParser

    auto_cli(function, args=args, prog=f"prag {command}", parser_class=OneLineParser)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
