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


class Killed(BaseException):
    """What a test raises in an actor to kill it."""


class RayDouble(ModuleType):
    """The functions of ray that are called while this process is connected to a cluster."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.num_killed = 0

    def is_initialized(self) -> bool:
        return True

    def wait(
        self, calls: Sequence[Any], num_returns: int = 1, timeout: float | None = None
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        return calls[:num_returns], calls[num_returns:]

    def put(self, value: Any) -> Callable[[], Any]:
        return lambda: value

    def get(self, call: Callable[[], Any]) -> Any:
        return call()

    def remote(self, actor_class: type) -> Any:
        made = SimpleNamespace(remote=lambda *arguments: LocalActor(actor_class(*arguments)))
        return SimpleNamespace(options=lambda **_: made)

    def kill(self, actor: Any) -> None:
        self.num_killed += 1


class LocalActor:
    """An actor in this process."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            try:
                return getattr(self._worker, name)(*arguments)
            except Killed as death:
                raise RayError("killed") from death
            except Exception as error:
                raise RayTaskError(error) from error

        return SimpleNamespace(remote=lambda *arguments: lambda: call(*arguments))


class ActorDouble:
    """An actor that works with a function."""

    def __init__(self, work: Callable[[Sequence[Any]], list[Any]]) -> None:
        self.begin = SimpleNamespace(remote=lambda: lambda: None)
        self.close = SimpleNamespace(remote=lambda: lambda: None)
        self.work = SimpleNamespace(remote=lambda tasks: lambda: work(tasks))
