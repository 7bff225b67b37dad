"""What `prag test` and `prag predict` write and print once all questions are answered."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from prag_lightning.answering.answers import Answer
from prag_lightning.documents.terminal import open_console
from prag_lightning.evaluation.results import write_answers, write_results
from prag_lightning.evaluation.scores import Prediction, Score, score_table


def report_scores(
    root: Path,
    predictions: Collection[Prediction],
    scores: Sequence[Score],
    *,
    has_gate: bool,
    is_partial: bool = False,
    generation: Mapping[str, Any] | None = None,
) -> None:
    """Write predictions and scores, and print the scores as a table.

    Args:
        root: Folder of the run.
        predictions: The scored answers, method by method.
        scores: The means over questions.
        has_gate: Whether the merge rule has a gate.
        is_partial: Whether only some of the questions were asked; such results are kept apart.
        generation: How the base's own generation settings changed its answers.
    """
    where = write_results(root, predictions, scores, is_partial=is_partial, generation=generation)
    console = open_console()
    console.print(score_table(scores))
    _print_left_out(console, predictions, has_gate)
    console.print(f"predictions and scores are in {where}")


def report_answers(root: Path, answers: Collection[Answer], *, has_gate: bool) -> None:
    """Write answers that cannot be scored, and print where they are.

    Args:
        root: Folder of the run.
        answers: The answers, method by method.
        has_gate: Whether the merge rule has a gate.
    """
    where = write_answers(root, answers)
    console = open_console()
    _print_left_out(console, answers, has_gate)
    console.print(f"{len(answers)} answers are in {where}")


def say_generation(settings: Mapping[str, Any], is_followed: bool) -> None:
    """Print settings of the base's generation config that would change greedy answers, if any.

    Args:
        settings: The settings, by name.
        is_followed: Whether answers are generated with them.
    """
    if settings:
        words = ", ".join(f"{name} {value}" for name, value in settings.items())
        how = "with" if is_followed else "greedy, without"
        print(f"answers are {how} the base's own {words} (--model.decoding)")


def _print_left_out(console: Console, answers: Collection[Answer], has_gate: bool) -> None:
    """Print how many adapters were missing, and how often a gate left them out."""
    missing, asked, closed = Counter[str](), Counter[str](), Counter[str]()
    for answer in answers:
        missing[answer.method] += len(answer.missing)
        if answer.adapters:
            asked[answer.method] += 1
            closed[answer.method] += not any(one.weight for one in answer.adapters)
    for method, count in (+missing).items():
        console.print(f"{method}: {count} retrieved documents had no adapter and were left out")
    for method, count in asked.items() if has_gate else ():
        console.print(f"{method}: the gate left adapters out of {closed[method]} of {count}")
