"""Objects that a ``with`` block closes at its end."""

from abc import ABC, abstractmethod
from typing import TypeVar

T = TypeVar("T", bound="ClosedAtEnd")


class ClosedAtEnd(ABC):
    """An object that a ``with`` block closes at its end."""

    @abstractmethod
    def close(self) -> None:
        """Close the object."""

    def __enter__(self: T) -> T:
        """Return the object, which is closed at the end of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the object."""
        self.close()
