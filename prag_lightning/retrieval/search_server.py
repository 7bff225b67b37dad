"""HTTP client for Elasticsearch 7 to 9 and OpenSearch that retries while the server is busy."""

import json
import os
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from httpx_retries import Retry, RetryTransport
from pydantic import BaseModel, JsonValue, ValidationError

from prag_lightning.documents.still_running import still_running
from prag_lightning.retrieval.address import require_address
from prag_lightning.retrieval.search_answers import Outcome, error_reason

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT", bound=Outcome)
AnswerT = TypeVar("AnswerT", bound=BaseModel)

# Statuses with which a server, or a proxy before it, asks to retry later.
_BUSY = frozenset({429, 502, 503, 504})
_BROKEN_OFF = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
# Maximum wait between two attempts, even if ``Retry-After`` is longer.
_LONGEST_WAIT_S = 300.0

_USER, _PASSWORD = "PRAG_SEARCH_USER", "PRAG_SEARCH_PASSWORD"
_CREDENTIALS = f"set the environment variables {_USER} and {_PASSWORD}"
_START = (
    "start one: docker run -p 9200:9200 -e discovery.type=single-node "
    "-e xpack.security.enabled=false docker.elastic.co/elasticsearch/elasticsearch:8.15.0"
)


class SearchServer:
    """Sends requests to a server, and repeats them while it is busy.

    If the server requires authentication, set the environment variables ``PRAG_SEARCH_USER`` and
    ``PRAG_SEARCH_PASSWORD``.

    Args:
        url: Address, such as ``https://host:9200``.
        max_attempts: Number of attempts before the server counts as unavailable.
        backoff_s: Seconds before the second attempt, doubled for each further one. The server's
            ``Retry-After`` takes precedence. Neither exceeds five minutes.
        timeout_s: Seconds to wait for a response.

    Raises:
        ValueError: If the address is invalid, or contains a user or password.
    """

    def __init__(
        self,
        url: str,
        max_attempts: int = 6,
        backoff_s: float = 0.5,
        timeout_s: float = 60.0,
    ) -> None:
        self.address = require_address(url, _CREDENTIALS)
        self._retry = _Patience(
            total=max_attempts - 1,
            allowed_methods=["GET", "PUT", "POST", "DELETE"],
            status_forcelist=_BUSY,
            retry_on_exceptions=_BROKEN_OFF,
            # It is doubled once before the second attempt.
            backoff_factor=backoff_s / 2,
            backoff_jitter=0.0,
            max_backoff_wait=_LONGEST_WAIT_S,
        )
        transport = httpx.HTTPTransport(proxy=_proxy(self.address))
        self._client = httpx.Client(
            base_url=self.address,
            auth=_credentials(),
            timeout=timeout_s,
            transport=RetryTransport(transport, self._retry),
        )
        # Close the connections when this object is garbage-collected.
        weakref.finalize(self, self._client.close)

    def send(
        self,
        method: str,
        path: str,
        body: object | None = None,
        lines: Iterable[object] | None = None,
    ) -> tuple[int, dict[str, JsonValue]]:
        """Send a request, and repeat it while the server is busy.

        Args:
            method: ``GET``, ``PUT``, ``POST`` or ``DELETE``.
            path: Path of the request.
            body: Body to send as JSON.
            lines: Lines to send as newline-delimited JSON instead.

        Returns:
            The status of the response, 404 or less than 400, and its JSON.

        Raises:
            ConnectionError: If the server cannot be reached or stays busy.
            ValueError: If it rejects the request, or is not a search server.
        """
        headers = {"Content-Type": "application/x-ndjson" if lines else "application/json"}
        content = b"".join(_json(line) + b"\n" for line in lines) if lines else _json(body)
        try:
            answer = self._client.request(method, path, content=content, headers=headers)
        except httpx.RequestError as error:
            problem = str(error) or type(error).__name__
            raise ConnectionError(
                f"no search server answers at {self.address} ({problem}); {_START}"
            ) from error
        if answer.status_code in _BUSY:
            raise self._busy(f"{method} {path}")
        return self._read(answer, f"{method} {path}")

    def send_each(
        self,
        path: str,
        items: Sequence[ItemT],
        lines: Callable[[ItemT], Iterable[object]],
        outcomes: Callable[[dict[str, JsonValue]], Sequence[OutcomeT]],
    ) -> list[OutcomeT]:
        """Send items in one bulk request, and return the outcome of each.

        Items that were rejected because the server was busy are sent again.

        Args:
            path: Path of the request.
            items: The items.
            lines: Returns the lines of the request for an item.
            outcomes: Extracts the outcomes from a response.

        Raises:
            ConnectionError: If the server cannot be reached or stays busy.
            ValueError: If it rejects the whole request, or its response does not match the items.
        """
        done: dict[int, OutcomeT] = {}
        retry: Retry = self._retry
        while True:
            remaining = [number for number in range(len(items)) if number not in done]
            request = [line for number in remaining for line in lines(items[number])]
            found = outcomes(self.send("POST", path, lines=request)[1])
            if len(found) != len(remaining):
                raise self._strange(f"POST {path}", f"{len(found)} of {len(remaining)} answers")
            for number, outcome in zip(remaining, found, strict=True):
                if outcome.status not in _BUSY:
                    done[number] = outcome
            if len(done) == len(items):
                return [done[number] for number in range(len(items))]
            if retry.is_exhausted():
                raise self._busy(f"{len(items) - len(done)} items of POST {path}")
            retry = retry.increment()
            retry.sleep(httpx.Response(429))

    def parse(
        self, answer_type: type[AnswerT], answer: dict[str, JsonValue], request: str
    ) -> AnswerT:
        """Validate a response.

        Args:
            answer_type: Type of the response.
            answer: The response.
            request: Description of the request for the error message.

        Raises:
            ValueError: If it is invalid.
        """
        try:
            return answer_type.model_validate(answer)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise self._strange(request, f"{where}: {problem['msg']}") from error

    def _busy(self, request: str) -> ConnectionError:
        return ConnectionError(
            f"{self.address} was too busy for {request} {self._retry.total + 1} times; "
            "start the same command again later"
        )

    def _strange(self, request: str, problem: str) -> ValueError:
        return ValueError(
            f"{self.address} answered {request} as no search server does ({problem}); "
            "is it Elasticsearch or OpenSearch?"
        )

    def _read(self, answer: httpx.Response, request: str) -> tuple[int, dict[str, JsonValue]]:
        if answer.status_code == 401:
            raise ValueError(
                f"{self.address} refused {request}: it wants to know who asks, or does not know "
                f"them; {_CREDENTIALS}"
            )
        try:
            content = json.loads(answer.content)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise self._strange(request, f"status {answer.status_code}, no JSON object")
        if answer.status_code >= 400 and answer.status_code != 404:
            raise ValueError(
                f"{self.address} refused {request}: {error_reason(content.get('error'))}"
            )
        return answer.status_code, content


class _Patience(Retry):
    """Retry policy for a busy server."""

    def sleep(self, response: httpx.Response | Exception) -> None:
        """Wait before the next attempt, with a message if the wait is long."""
        attempt = f"attempt {self.attempts_made + 1} of {self.total + 1}"
        with still_running(lambda: f"the search server is busy; waiting before {attempt}"):
            super().sleep(response)


def _credentials() -> tuple[str, str] | None:
    user, password = os.environ.get(_USER), os.environ.get(_PASSWORD)
    if user is None and password is None:
        return None
    if user is None or password is None:
        missing = _USER if user is None else _PASSWORD
        raise ValueError(f"the environment variable {missing} is not set; {_CREDENTIALS}")
    return user, password


def _proxy(address: str) -> str | None:
    """Return the proxy that the environment specifies for an address."""
    parts = urlsplit(address)
    if proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _json(value: object) -> bytes:
    return b"" if value is None else json.dumps(value, ensure_ascii=False).encode()
