"""The command ``prag sweep``: an experiment with every combination of some settings."""

import argparse
import signal
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, NoReturn

from prag_lightning.cli.configs import with_config_files
from prag_lightning.cli.exit_status import DONE, INTERRUPTED, SOME_FAILED, TERMINATED
from prag_lightning.cli.trainer_words import refuse_unknown_words
from prag_lightning.cli.words_parser import WordsParser

if TYPE_CHECKING:
    from prag_lightning.cli.sweep.runs import RunCommand

_HELP = """\
Run prag fit and prag test with every combination of some settings.

All other options are those of prag fit. Every run has a folder of its own under the root folder,
sweep/KEY=VALUE,..., with log.txt in it; runs whose adapters are the same share a store. The same
command again goes on where it was stopped. Scores of all runs come into sweep/sweep.csv.

  prag sweep demo --over rank=2,8 --over merge=anchored,score --data.folder my_data
"""


def run_sweep(args: Sequence[str], run_command: "RunCommand | None" = None) -> int:
    """Run ``prag sweep`` and return its exit status.

    Args:
        args: The command line.
        run_command: Runs ``prag fit`` and ``prag test``; by default each in its own process.
    """
    overs, words = _parse(args)

    def stop(*_: object) -> NoReturn:
        raise SystemExit(TERMINATED)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        return _sweep(overs, words, run_command)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, previous)


def _parse(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments of ``--over``, and the options of ``prag fit``."""
    parser = WordsParser(
        "prag sweep",
        usage="prag sweep [CONFIG ...] --over KEY=VALUE,VALUE [--over ...] [OPTIONS]",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--over",
        action="append",
        required=True,
        metavar="KEY=VALUE,VALUE",
        help="a setting and its values; the last part of the key is enough where only one ends so",
    )
    configs = list(takewhile(lambda word: not word.startswith("-"), args))
    known, options = parser.parse_known_args(list(args[len(configs) :]))
    return known.over, [*(word for c in configs for word in ("--config", c)), *options]


def _sweep(overs: Sequence[str], words: Sequence[str], run_command: "RunCommand | None") -> int:
    # Report unknown words before torch is imported, which takes seconds.
    refuse_unknown_words("sweep", words)
    words = with_config_files(words)
    from rich.console import Console

    from prag_lightning.cli.quiet import quiet
    from prag_lightning.cli.sweep.plan import SweepPlanner
    from prag_lightning.cli.sweep.results import result_table, write_table
    from prag_lightning.cli.sweep.runs import SweepRunner, run_process
    from prag_lightning.documents.terminal import without_controls
    from prag_lightning.evaluation.run_result import DONE_STATUS

    quiet()
    planner = SweepPlanner(words)
    plan = planner.plan(overs)
    num_stores = len({run.store for run in plan})
    print(f"{len(plan)} runs, {num_stores} stores of adapters: {planner.folder}", flush=True)
    runner, results = SweepRunner(run_command or run_process), []
    for number, run in enumerate(plan, start=1):
        print(f"{number}. {run.folder.name}: ", end="", flush=True)
        results.append(runner.run(run))
        write_table(planner.folder / "sweep.csv", results)
        print(without_controls(results[-1].status), flush=True)
    console, table = Console(), result_table(results, [run.folder for run in plan])
    # Lines may wrap, but numbers must not be truncated.
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)
    print(f"F1, likelihoods and types are in {planner.folder / 'sweep.csv'}")
    print(f"`prag report {planner.folder}` draws them")
    return DONE if all(result.status == DONE_STATUS for result in results) else SOME_FAILED
