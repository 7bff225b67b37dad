"""A server with an OpenAI-compatible API: its address, availability and models."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx
from httpx_retries import Retry, RetryTransport
from pydantic import BaseModel, ValidationError

T = TypeVar("T")

# Statuses that are worth a retry: the server is busy or had an internal error.
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# Errors of a broken connection or an invalid response.
BROKEN = (httpx.TransportError, httpx.DecodingError, ValidationError)
_REFUSED_KEY = frozenset({401, 403})
_LONGEST_WAIT_S = 300.0
_CHECK_TIMEOUT_S = 5.0

# It warns about every unreadable Retry-After header, and then ignores the header.
logging.getLogger("httpx_retries").setLevel(logging.ERROR)


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


@dataclass(frozen=True)
class Endpoint:
    """Address of a server, and how to retry requests to it.

    Args:
        url: Address including the version, such as ``http://localhost:8000/v1``.
        api_key_env: Name of the environment variable with the API key, if one is needed.
        timeout_s: Seconds to wait for a response.
        max_tries: Maximum number of attempts per request.
        backoff_s: Seconds before the second attempt, doubled for each further one, and randomly
            reduced by up to half. The server's ``Retry-After`` takes precedence. Neither exceeds
            five minutes.
    """

    url: str = "http://localhost:8000/v1"
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = 120.0
    max_tries: int = 6
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        """Check the values."""
        try:
            parsed = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise ValueError(f"url '{self.url}' is none ({error})") from error
        is_port = parsed.port is None or 0 < parsed.port < 2**16
        if parsed.scheme not in ("http", "https") or not parsed.host or not is_port:
            raise ValueError(f"url '{self.address}': give one like http://localhost:8000/v1")

    @property
    def address(self) -> str:
        """The URL without user and password."""
        return str(httpx.URL(self.url).copy_with(userinfo=b"")).rstrip("/")

    @property
    def api_key(self) -> str:
        """The API key; empty if there is none."""
        return os.environ.get(self.api_key_env, "")

    def open(
        self, num_connections: int, check: Callable[[httpx.Response], Awaitable[None]] | None = None
    ) -> httpx.AsyncClient:
        """Return an HTTP client, to be used as a context manager.

        POST requests are repeated while the server is busy or fails.

        Args:
            num_connections: Maximum number of open connections.
            check: Validates a response to a POST request; raises httpx's or pydantic's errors if it
                is broken and the request should be repeated.
        """
        retry = Retry(
            total=self.max_tries - 1,
            allowed_methods=["POST"],
            status_forcelist=PASSING_STATUSES,
            retry_on_exceptions=BROKEN,
            # It is doubled once before the second attempt.
            backoff_factor=self.backoff_s / 2,
            backoff_jitter=0.5,
            max_backoff_wait=_LONGEST_WAIT_S,
            validate_response=check,
        )
        limits = httpx.Limits(
            max_connections=num_connections, max_keepalive_connections=num_connections
        )
        transport = httpx.AsyncHTTPTransport(limits=limits, proxy=_proxy(httpx.URL(self.url)))
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.api_key}"} if self.api_key else {},
            timeout=self.timeout_s,
            transport=RetryTransport(transport, retry),
        )

    async def fetch_models(self, client: httpx.AsyncClient) -> list[str]:
        """Return the names of the server's models; empty if it does not list them.

        Raises:
            ConnectionError: If no server responds within 5 seconds, or it is not ready.
            ValueError: If it rejects the API key.
        """
        try:
            answer = await asyncio.wait_for(client.get("models"), _CHECK_TIMEOUT_S)
        except (httpx.TransportError, asyncio.TimeoutError) as error:
            raise self._absence(describe(error)) from error
        self.check_key(answer)
        if answer.status_code in PASSING_STATUSES:
            raise self._absence(f"status {answer.status_code}")
        try:
            return [model.id for model in _Models.model_validate_json(answer.content).data]
        except ValidationError:
            return []

    def check_key(self, answer: httpx.Response) -> None:
        """Check that a response does not reject the API key.

        Raises:
            ValueError: If it does.
        """
        if answer.status_code in _REFUSED_KEY:
            raise ValueError(
                f"{self.address} refused the API key (status {answer.status_code}); put one into "
                f"the environment variable {self.api_key_env}"
            )

    def _absence(self, problem: str) -> ConnectionError:
        return ConnectionError(
            f"no language model answers at {self.address} ({problem}); start one, as with "
            "`vllm serve MODEL --port 8000`, or give the --url of one"
        )


def find_model(endpoint: Endpoint, model: str | None) -> str:
    """Return the name of the model to use, after checking that the server has it.

    Args:
        endpoint: The server.
        model: Name of the model; may be None if the server has only one.

    Raises:
        ConnectionError: If no server responds within 5 seconds.
        ValueError: If it rejects the API key, or has no such model.
    """

    async def fetch() -> list[str]:
        async with endpoint.open(num_connections=1) as client:
            return await endpoint.fetch_models(client)

    served = run_blocking(fetch())
    names = ", ".join(served) or "not listed"
    if model is None:
        if len(served) != 1:
            raise ValueError(f"{endpoint.address}: name one of its models ({names}) with --model")
        return served[0]
    if served and model not in served:
        raise ValueError(f"{endpoint.address} has no model '{model}'; its models: {names}")
    return model


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to completion, even if an event loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


def describe(error: BaseException) -> str:
    """Return a short description of why a request failed."""
    if isinstance(error, httpx.TimeoutException | asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, ValidationError):
        return "an answer that is no chat completion"
    return str(error) or type(error).__name__


def _proxy(url: httpx.URL) -> str | None:
    """Return the proxy that the environment specifies for an address.

    httpx applies proxy settings only to transports that it creates itself.
    """
    if proxy_bypass(url.host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")
