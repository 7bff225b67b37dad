"""Augmentation by a language model behind an OpenAI-compatible server (vLLM, SGLang and others)."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property

from prag_lightning.augmentation.asking import ModelAugmenter
from prag_lightning.augmentation.base import Listener
from prag_lightning.augmentation.chat_server import ChatServer
from prag_lightning.augmentation.endpoint import Endpoint, find_model, run_blocking
from prag_lightning.augmentation.outcomes import Usage
from prag_lightning.augmentation.settings import Order, Sampling, Settings, TemplateSetting
from prag_lightning.documents.records import Document


class EndpointAugmenter(ModelAugmenter):
    """Augments documents concurrently with a model on a server.

    Args:
        endpoint: The server.
        model: Name of the model on the server; may be None if it has only one.
        order: What to make of each document.
        sampling: Sampling settings.
        concurrency: Maximum number of concurrent requests.
        chat_template_kwargs: Variables of the model's chat template, such as ``enable_thinking``,
            for servers that support this field.

    Raises:
        ValueError: If the concurrency is invalid.
    """

    def __init__(
        self,
        endpoint: Endpoint = Endpoint(),  # noqa: B008 - frozen
        model: str | None = None,
        order: Order = Order(),  # noqa: B008 - frozen
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        concurrency: int = 32,
        chat_template_kwargs: Mapping[str, TemplateSetting] | None = None,
    ) -> None:
        super().__init__(order)
        if concurrency < 1:
            raise ValueError(f"concurrency {concurrency}: give at least 1")
        self._endpoint = endpoint
        self._given_model = model
        self._sampling = sampling
        self._concurrency = concurrency
        self._template_settings = dict(chat_template_kwargs or {})

    @cached_property
    def model(self) -> str:
        """Name of the model; the first access checks that the server has it.

        Raises:
            ConnectionError: If no server responds within 5 seconds.
            ValueError: If it rejects the API key, or has no such model.
        """
        return find_model(self._endpoint, self._given_model)

    @property
    def settings(self) -> Settings:
        """All settings that the augmentations depend on."""
        return {
            "generator": "endpoint",
            "model": self.model,
            **self.order.settings,
            **asdict(self._sampling),
            **{f"chat_template_kwargs.{k}": v for k, v in self._template_settings.items()},
        }

    def run(self, documents: Sequence[Document], listener: Listener) -> Usage:
        """Augment documents, and report each outcome as soon as it is known.

        Args:
            documents: Documents with distinct ids.
            listener: Receives all answers and outcomes.

        Returns:
            Usage of the language model.

        Raises:
            ConnectionError: If the server cannot be reached any more.
            ValueError: If it rejects the API key.
        """
        model = self.model
        self.announce(documents, listener)
        server = ChatServer(
            self._endpoint, model, self._sampling, self._template_settings, self._concurrency
        )
        return run_blocking(self._run(server, documents, listener))

    async def _run(
        self, server: ChatServer, documents: Sequence[Document], listener: Listener
    ) -> Usage:
        remaining = iter(documents)
        async with server:
            workers = [
                asyncio.create_task(self._work(server, remaining, listener))
                for _ in range(min(self._concurrency, len(documents)))
            ]
            try:
                return sum(await asyncio.gather(*workers), Usage())
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self, server: ChatServer, remaining: Iterator[Document], listener: Listener
    ) -> Usage:
        """Augment one document after another until none is left; return the usage."""
        usage = Usage()
        for document in remaining:
            for draft in self.begin([document], listener):
                while requests := draft.requests:
                    reply = await server.complete(requests[0])
                    self.take(draft, requests[0], reply, listener)
                usage += draft.outcome.usage
        return usage
