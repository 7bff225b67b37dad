"""The base class of what encodes or augments block after block of documents in one process."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")


class BlockWorker(ABC, Generic[TaskT, ResultT]):
    """Does all tasks of a block at once, and if one of them makes that fail, one by one."""

    # Whether the settings have been accepted, so that a failure may be due to a document.
    has_begun = False

    def work(self, tasks: Sequence[TaskT]) -> list[ResultT]:
        """Do the tasks, and return one result for all of them, or one for each.

        Raises:
            OSError: If a disk or a server fails.
            ValueError: If the settings are wrong.
            Exception: Whatever makes every single task fail.
        """
        try:
            return [self.do(tasks)]
        except OSError:
            raise
        except Exception as error:
            if not self.has_begun:
                raise
            if len(tasks) == 1:
                return [self.fail(tasks[0], _reason(error))]
            done = [self._do_one(task) for task in tasks]
            if not any(succeeded for succeeded, _ in done):
                # It is not the documents.
                raise
            return [result for _, result in done]

    @abstractmethod
    def do(self, tasks: Sequence[TaskT]) -> ResultT:
        """Do the tasks at once."""

    @abstractmethod
    def fail(self, task: TaskT, reason: str) -> ResultT:
        """Return the result of a task that failed.

        Args:
            task: The task.
            reason: Why it failed.
        """

    def close(self) -> None:
        """Close what is open."""

    def _do_one(self, task: TaskT) -> tuple[bool, ResultT]:
        """Return whether a task succeeded, and its result."""
        try:
            return True, self.do([task])
        except OSError:
            raise
        except Exception as error:
            return False, self.fail(task, _reason(error))


def _reason(error: Exception) -> str:
    """Return an error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
