"""Stands for ray: its actors work in this process, at once, and die as a test says."""

from collections.abc import Callable, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any


class RayError(Exception):
    """The actor has died."""


class RayTaskError(RayError):
    """The actor has raised an error."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class RayDouble(ModuleType):
    """The functions of ray that the pool calls."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.num_killed = 0

    def wait(
        self, calls: Sequence[Any], num_returns: int = 1, timeout: float | None = None
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        return calls[:num_returns], calls[num_returns:]

    def get(self, call: Callable[[], Any]) -> Any:
        return call()

    def kill(self, actor: Any) -> None:
        self.num_killed += 1


class ActorDouble:
    """An actor that works with a function."""

    def __init__(self, work: Callable[[Sequence[Any]], list[Any]]) -> None:
        self.begin = SimpleNamespace(remote=lambda: lambda: None)
        self.close = SimpleNamespace(remote=lambda: lambda: None)
        self.work = SimpleNamespace(remote=lambda tasks: lambda: work(tasks))
