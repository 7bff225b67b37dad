"""The merge rule that was chosen for a run, and the others that were tried."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from prag_lightning.documents.records import Question
from prag_lightning.documents.writing import write_whole

TUNING_FOLDER = "tuning"
_CHOICE_FILE = "choice.json"
RuleSpec = dict[str, Any] | str


class TriedRule(BaseModel):
    """The scores of one merge rule.

    Args:
        merge: The rule, as ``evaluation.merge`` names it.
        scores: The mean of each metric over all questions, and over each type, by type.
    """

    merge: RuleSpec
    scores: dict[str, dict[str, float]]


class MergeChoice(BaseModel):
    """The merge rule that scored best, and how it was chosen.

    Args:
        merge: The rule, as ``evaluation.merge`` names it.
        method: The method that answered.
        metric: The metric that decided.
        tried: All rules that were tried, in order.
        question_ids: The questions that were asked.
    """

    # A limit of a gate may be infinite.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    merge: RuleSpec
    method: str
    metric: str
    tried: list[TriedRule]
    question_ids: list[str]

    def refuse_questions(self, questions: Iterable[Question], file: Path) -> None:
        """Refuse to score the chosen rule on questions that chose it.

        Args:
            questions: The questions to score on.
            file: File of the choice, for the message.

        Raises:
            ValueError: If the rule was chosen with any of them; gives their number.
        """
        used = set(self.question_ids)
        if both := [question.id for question in questions if question.id in used]:
            raise ValueError(
                f"the question '{both[0]}'{_others(both)} chose this run's merge rule ({file}), so "
                "that scores on it would flatter; ask others with --data.questions, such as "
                f"{file.with_name('test_questions.jsonl')}, or give a rule with --evaluation.merge"
            )


def _others(ids: list[str]) -> str:
    return f" and {len(ids) - 1} more" if len(ids) > 1 else ""


def choice_file(run_dir: Path) -> Path:
    """Return the file of a run's choice."""
    return run_dir / TUNING_FOLDER / _CHOICE_FILE


def read_choice(run_dir: Path) -> MergeChoice | None:
    """Return the choice that was made for a run; None if there is none.

    Raises:
        ValueError: If it is damaged.
    """
    file = choice_file(run_dir)
    if not file.is_file():
        return None
    try:
        return MergeChoice.model_validate_json(file.read_bytes())
    except ValidationError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{file}: is damaged ({reason}); delete it, and run `prag tune`"
        ) from error


def write_choice(run_dir: Path, choice: MergeChoice) -> Path:
    """Write the choice of a run, and return its file.

    Args:
        run_dir: Root folder of the run.
        choice: The choice.
    """
    write_whole(choice_file(run_dir), choice.model_dump_json(indent=1) + "\n")
    return choice_file(run_dir)


def rule_text(rule: RuleSpec) -> str:
    """Return a merge rule as a command line gives it.

    >>> rule_text({"score": {"temperature": 2}})
    '{score: {temperature: 2}}'
    """
    text: str = yaml.safe_dump(rule, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()
