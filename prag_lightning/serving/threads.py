"""What a thread makes piece by piece, awaited piece by piece."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Executor
from contextlib import closing
from typing import TypeVar

PieceT = TypeVar("PieceT")


class _End:
    """The end of a thread's work, and its error if there was one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


async def pieces_of_thread(
    make: Callable[[], Generator[PieceT, None, None]], threads: Executor
) -> AsyncGenerator[PieceT, None]:
    """Yield what a generator yields that runs in a thread.

    If nobody waits for more, the generator is closed as soon as it yields again.

    Args:
        make: Returns the generator; called in the thread.
        threads: Runs it.

    Yields:
        Its pieces.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[PieceT | _End] = asyncio.Queue()
    is_over = threading.Event()

    def hand_over(piece: PieceT | _End) -> None:
        # The loop may have ended while the thread worked.
        if not loop.is_closed():
            loop.call_soon_threadsafe(made.put_nowait, piece)

    def run() -> None:
        try:
            if is_over.is_set():
                return
            with closing(make()) as pieces:
                for piece in pieces:
                    if is_over.is_set():
                        return
                    hand_over(piece)
        except BaseException as error:
            hand_over(_End(error))
        else:
            hand_over(_End())

    threads.submit(run)
    try:
        while not isinstance(piece := await made.get(), _End):
            yield piece
        if piece.error is not None:
            raise piece.error
    finally:
        is_over.set()
