"""Plain HTTP to Elasticsearch 7 to 9 and OpenSearch, patient with a server that is busy."""

import json
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import httpx

from prag_lightning.retrieval.retry_after import seconds_of

ItemT = TypeVar("ItemT")

# The server says: not now.
_BUSY = frozenset({429, 503})

_START = (
    "start one: docker run -p 9200:9200 -e discovery.type=single-node "
    "-e xpack.security.enabled=false docker.elastic.co/elasticsearch/elasticsearch:8.15.0"
)


class SearchServer:
    """Sends requests to one server, and the same one again while it is busy.

    Args:
        url: Address; ``https://user:password@host:9200`` where the server wants to know who asks.
        max_attempts: How often a request is sent before the server counts as unavailable.
        backoff_s: Seconds before the second attempt; doubled before each further one. A
            ``Retry-After`` of the server's comes first.
        timeout_s: Seconds to wait for an answer.
    """

    def __init__(
        self,
        url: str,
        max_attempts: int = 6,
        backoff_s: float = 0.5,
        timeout_s: float = 60.0,
    ) -> None:
        parsed = httpx.URL(url)
        self.address = str(parsed.copy_with(userinfo=b"")).rstrip("/")
        self._max_attempts = max_attempts
        self._backoff_s = backoff_s
        self._client = httpx.Client(base_url=parsed, timeout=timeout_s)
        # Connections are kept open between requests, as long as there is a server object.
        weakref.finalize(self, self._client.close)

    def send(
        self,
        method: str,
        path: str,
        body: object | None = None,
        lines: Iterable[object] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of the answer to a JSON ``body`` or newline-delimited ``lines``.

        Raises:
            ConnectionError: If the server cannot be reached or stays busy.
            ValueError: If it refuses the request: any status above 400 but 404.
        """
        headers = {"Content-Type": "application/x-ndjson" if lines else "application/json"}
        content = b"".join(_json(line) + b"\n" for line in lines) if lines else _json(body)
        for attempt in range(1, self._max_attempts + 1):
            answer = self._attempt(method, path, content, headers)
            if answer.status_code not in _BUSY:
                return self._read(answer, f"{method} {path}")
            self._wait(attempt, answer.headers.get("Retry-After"))
        raise self._busy(f"{method} {path}")

    def send_each(
        self,
        path: str,
        items: Sequence[ItemT],
        lines: Callable[[ItemT], Iterable[object]],
        outcomes: Callable[[dict[str, Any]], list[dict[str, Any]]],
    ) -> list[dict[str, Any]]:
        """Return the outcome of each item of one bulk request.

        Items for which alone the server was too busy are sent again.

        Args:
            path: Where the request goes.
            items: What it is about.
            lines: Gives the lines of the request for an item.
            outcomes: Gives the outcomes, with their ``status``, in an answer of the server.

        Raises:
            ConnectionError: If the server cannot be reached or stays busy.
            ValueError: If it refuses the whole request.
        """
        done: dict[int, dict[str, Any]] = {}
        for attempt in range(1, self._max_attempts + 1):
            remaining = [number for number in range(len(items)) if number not in done]
            request = [line for number in remaining for line in lines(items[number])]
            _, answer = self.send("POST", path, lines=request)
            for number, outcome in zip(remaining, outcomes(answer), strict=True):
                if outcome.get("status") not in _BUSY:
                    done[number] = outcome
            if len(done) == len(items):
                return [done[number] for number in range(len(items))]
            self._wait(attempt, None)
        raise self._busy(f"{len(items) - len(done)} items of POST {path}")

    def _busy(self, request: str) -> ConnectionError:
        return ConnectionError(
            f"{self.address} was too busy for {request} {self._max_attempts} times; "
            "start the same command again later"
        )

    def _wait(self, attempt: int, retry_after: str | None) -> None:
        """Sleep before attempt number ``attempt + 1``, unless it would be one too many."""
        if attempt < self._max_attempts:
            asked = seconds_of(retry_after)
            time.sleep(self._backoff_s * 2 ** (attempt - 1) if asked is None else asked)

    def _attempt(
        self, method: str, path: str, content: bytes, headers: dict[str, str]
    ) -> httpx.Response:
        try:
            return self._client.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            problem = str(error) or type(error).__name__
            raise ConnectionError(
                f"no search server answers at {self.address} ({problem}); {_START}"
            ) from error

    def _read(self, answer: httpx.Response, request: str) -> tuple[int, dict[str, Any]]:
        content = _parsed(answer.content)
        if content is None:
            raise ValueError(
                f"{self.address} answered {request} with something else than a JSON object; "
                "is it Elasticsearch or OpenSearch?"
            )
        if answer.status_code == 401:
            raise ValueError(
                f"{self.address} refused {request}: it wants to know who asks; put user and "
                "password into the address: https://user:password@host:9200"
            )
        if answer.status_code >= 400 and answer.status_code != 404:
            raise ValueError(
                f"{self.address} refused {request}: {error_reason(content.get('error'))}"
            )
        return answer.status_code, content


def error_reason(error: object) -> str:
    """Return the server's explanation in one line."""
    if not isinstance(error, dict):
        return str(error)
    causes = error.get("root_cause") or [error]
    return f"{causes[0].get('type')}: {causes[0].get('reason')}"


def _json(value: object) -> bytes:
    return b"" if value is None else json.dumps(value, ensure_ascii=False).encode()


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(content)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
