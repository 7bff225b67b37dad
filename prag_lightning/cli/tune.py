"""The command ``prag tune``: choose a run's merge rule on questions not used for testing."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse.typing import ClosedUnitInterval, NonNegativeInt

from prag_lightning.answering.from_run import latest_run, read_run, settings_file

if TYPE_CHECKING:
    from rich.table import Table

    from prag_lightning.answering.merge_choice import MergeChoice
    from prag_lightning.documents.records import Question


def tune(
    run: Path | None = None,
    questions: Path | None = None,
    share: ClosedUnitInterval = 0.3,
    seed: NonNegativeInt = 0,
    rules: list[dict[str, Any] | str] | None = None,
    method: Literal["prag", "own", "combine"] = "prag",
    metric: Literal["f1", "em", "recall"] = "f1",
) -> None:
    """Try merge rules on some questions; `prag test` and `prag ask` then use the best.

    The choice and all scores are written to the folder `tuning` of the run.

    Args:
        run: Root folder of a run of `prag fit`; by default the latest under `runs`.
        questions: File of questions to choose by, none of which may be used for testing. By default
            a part of the run's questions is held out, and the others are written for `prag test`.
        share: Share of the run's questions that is held out; the parts share no document.
        seed: Seed of that split.
        rules: Merge rules to try, as named by `--evaluation.merge`; by default a built-in list.
        method: The method that answers.
        metric: The metric that decides, by its mean over all questions.

    Raises:
        FileNotFoundError: If there is no such run or file.
        ValueError: If questions are also used for testing, or a rule does not exist.
    """
    run_dir = latest_run() if run is None else run
    settings_file(run_dir)
    chosen, rest = _questions(run_dir, questions, share, seed)
    from rich.console import Console

    from prag_lightning.adapters.merge import make_merge_rule

    for rule in rules or []:
        make_merge_rule(rule)
    from prag_lightning.answerer import Answerer
    from prag_lightning.answering.merge_choice import TUNING_FOLDER, rule_text, write_choice
    from prag_lightning.cli.quiet import quiet
    from prag_lightning.documents.records import write_records
    from prag_lightning.documents.terminal import open_console
    from prag_lightning.evaluation.tuning import DEFAULT_RULES, tune_merge

    quiet()
    console = open_console()
    with console.status(f"loading {run_dir}"):
        answerer = Answerer.from_run(run_dir)
    print(f"{len(chosen)} questions choose between {len(rules or DEFAULT_RULES)} merge rules")
    choice = tune_merge(answerer, chosen, rules or DEFAULT_RULES, method=method, metric=metric)
    answerer.close()
    words = f"prag test --config {run_dir / 'fit.yaml'}"
    if rest:
        folder = run_dir / TUNING_FOLDER
        write_records(folder / "validation_questions.jsonl", chosen)
        write_records(folder / "test_questions.jsonl", rest)
        words += f" --data.questions {folder / 'test_questions.jsonl'}"
    file = write_choice(run_dir, choice)
    table = _table(choice)
    # Lines may wrap, but numbers must not be truncated.
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)
    print(f"{rule_text(choice.merge)} is chosen ({file}); score it on other questions:")
    print(words)


def _questions(
    run_dir: Path, file: Path | None, share: float, seed: int
) -> "tuple[list[Question], list[Question]]":
    """Return the questions to choose by, and the run's remaining questions for testing.

    Raises:
        ValueError: If a question to choose by is one that the run is tested on.
    """
    from prag_lightning.documents.records import Question, read_unique
    from prag_lightning.evaluation.tuning import split_by_document

    asked = read_run(run_dir).questions
    if file is None:
        return split_by_document(read_unique(asked, Question), share, seed)
    chosen = read_unique(file, Question)
    tested = {question.id for question in read_unique(asked, Question)} if asked.exists() else set()
    if both := [question.id for question in chosen if question.id in tested]:
        raise ValueError(
            f"{file}: question '{both[0]}' is one of {asked}, which this run is tested on; choose "
            "by other questions, or leave --questions out: then a part of them is set apart"
        )
    return chosen, []


def _table(choice: "MergeChoice") -> "Table":
    """Return the tried rules as a table for a terminal, the choice in bold."""
    from rich import box
    from rich.table import Table

    from prag_lightning.answering.merge_choice import rule_text
    from prag_lightning.documents.terminal import plain_text

    types = list(choice.tried[0].scores)
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("merge rule")
    for kind in types:
        for name in ("EM", "F1"):
            table.add_column(plain_text(f"{kind} {name}"), justify="right")
    for one in choice.tried:
        values = [one.scores[kind][name] for kind in types for name in ("em", "f1")]
        table.add_row(
            plain_text(rule_text(one.merge)),
            *(f"{value:.3f}" for value in values),
            style="bold" if one.merge == choice.merge else None,
        )
    return table
