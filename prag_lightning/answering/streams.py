"""Answers that are received piece by piece while they are generated."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue

from prag_lightning.answering.answers import Answer
from prag_lightning.documents.closing import ClosedAtEnd

Submit = Callable[[Callable[[str], None]], "Future[list[Answer]]"]
_Said = str | Future[list[Answer]]


class AnswerStream(ClosedAtEnd, Iterator[str | Answer]):
    """Yields the pieces of an answer's text, and at the end the `Answer`.

    A stream that is closed, garbage-collected or interrupted by Ctrl-C ends the generation of its
    answer.

    Args:
        submit: Asks the question, and passes each piece to the function that it is given.
    """

    def __init__(self, submit: Submit) -> None:
        self._said: SimpleQueue[_Said] = SimpleQueue()
        self._future = submit(self._said.put)
        self._future.add_done_callback(self._said.put)
        self._has_ended = False

    def __next__(self) -> str | Answer:
        """Wait for the next piece.

        Raises:
            ValueError: If the question cannot be answered.
        """
        if self._has_ended:
            raise StopIteration
        try:
            said = self._said.get()
        except BaseException:
            self.close()
            raise
        if isinstance(said, str):
            return said
        self._has_ended = True
        if said.cancelled():
            raise StopIteration
        return said.result()[0]

    def close(self) -> None:
        """Give the answer up, unless it is complete."""
        self._future.cancel()

    def __del__(self) -> None:
        """Close the stream."""
        if hasattr(self, "_future"):
            self.close()


class AsyncAnswerStream(AsyncIterator[str | Answer]):
    """Yields the pieces of an answer's text, and at the end the `Answer`, in an event loop.

    A stream that is closed or garbage-collected, or whose task is cancelled while it waits, ends
    the generation of its answer.

    Args:
        submit: Asks the question, and passes each piece to the function that it is given.
    """

    def __init__(self, submit: Submit) -> None:
        self._said: asyncio.Queue[_Said] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._future = submit(self._put)
        self._future.add_done_callback(self._put)
        self._has_ended = False

    def _put(self, said: _Said) -> None:
        try:
            self._loop.call_soon_threadsafe(self._said.put_nowait, said)
        # The event loop has ended.
        except RuntimeError:
            self._future.cancel()

    async def __anext__(self) -> str | Answer:
        """Wait for the next piece.

        Raises:
            ValueError: If the question cannot be answered.
        """
        if self._has_ended:
            raise StopAsyncIteration
        try:
            said = await self._said.get()
        except BaseException:
            self._future.cancel()
            raise
        if isinstance(said, str):
            return said
        self._has_ended = True
        if said.cancelled():
            raise StopAsyncIteration
        return said.result()[0]

    async def aclose(self) -> None:
        """Give the answer up, unless it is complete."""
        self._future.cancel()

    def __del__(self) -> None:
        """Give the answer up, unless it is complete."""
        if hasattr(self, "_future"):
            self._future.cancel()
