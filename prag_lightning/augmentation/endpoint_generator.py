"""Augmentation by a language model behind an OpenAI-compatible server (vLLM, SGLang and others)."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from prag_lightning.augmentation.chat_server import ChatServer
from prag_lightning.augmentation.draft import Draft, Outcome, Usage
from prag_lightning.augmentation.endpoint import Endpoint
from prag_lightning.augmentation.outcome_files import Settings
from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.documents.records import Document


class EndpointGenerator:
    """Asks a server about several documents at a time.

    Args:
        endpoint: Where the server is.
        model: The model's name there.
        order: What is wanted of every document.
        sampling: How answers are drawn.
        concurrency: Requests under way at a time, at most.
    """

    def __init__(
        self, endpoint: Endpoint, model: str, order: Order, sampling: Sampling, concurrency: int
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency {concurrency}: give at least 1")
        self._endpoint = endpoint
        self._model = model
        self._order = order
        self._sampling = sampling
        self._concurrency = concurrency
        self.max_attempts = order.max_attempts

    @property
    def settings(self) -> Settings:
        """Everything on which the augmentations depend."""
        return {
            "generator": "endpoint",
            "model": self._model,
            **self._order.settings,
            **asdict(self._sampling),
        }

    def augment(self, documents: Sequence[Document], deliver: Callable[[Outcome], None]) -> Usage:
        """Call ``deliver`` with the outcome of each document as soon as it is known.

        Returns:
            What it took.

        Raises:
            ConnectionError: If the server is gone.
            ValueError: If it refuses the API key.
        """
        return asyncio.run(self._augment(documents, deliver))

    async def _augment(
        self, documents: Sequence[Document], deliver: Callable[[Outcome], None]
    ) -> Usage:
        remaining = iter(documents)
        async with ChatServer(
            self._endpoint, self._model, self._sampling, self._concurrency
        ) as server:
            workers = [
                asyncio.create_task(self._work(server, remaining, deliver))
                for _ in range(min(self._concurrency, len(documents)))
            ]
            try:
                return sum(await asyncio.gather(*workers), Usage())
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self,
        server: ChatServer,
        remaining: Iterator[Document],
        deliver: Callable[[Outcome], None],
    ) -> Usage:
        """Augment one document after another, until none is left; return what it took."""
        usage = Usage()
        for document in remaining:
            draft = Draft(document, self._order)
            while requests := draft.requests:
                draft.accept(requests[0], await server.complete(requests[0]))
            deliver(draft.outcome)
            usage += draft.outcome.usage
        return usage
