"""What a request must pass before it is read: host, token, rate, and the size of its body."""

import asyncio
import hmac
import math
from collections.abc import Iterable
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prag_lightning.serving.errors import RefusalError
from prag_lightning.serving.rates import RequestRates
from prag_lightning.serving.settings import ServingSettings

# Open without a token: they hold nothing of the run's.
_OPEN_PATHS = ("/", "/health", "/openapi.json")
_OPEN_FOLDER = "/static/"
# How much of a refused body is read, in bodies that would be accepted, and for how long.
_NUM_DROPPED = 8
_DROPPING_S = 2.0
# Browsers let pages of other sites send these without asking, as forms.
_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}


class RequestGate:
    """Middleware that refuses requests before anything reads them.

    Args:
        app: The app behind the gate.
        settings: The service's settings.
    """

    def __init__(self, app: ASGIApp, settings: ServingSettings) -> None:
        self._app = app
        self._settings = settings
        self._rates = RequestRates(settings.requests_per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            body = await self._read_body(scope, receive)
        except RefusalError as refusal:
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_host(headers.get("host", ""))
        client = scope["client"][0] if scope.get("client") else ""
        if seconds := self._rates.seconds_to_wait(client):
            raise RefusalError(
                429,
                f"more than {self._settings.requests_per_second:g} requests a second; try again "
                "later",
                code="rate_limit_exceeded",
                retry_after=math.ceil(seconds),
            )
        path = scope["path"]
        if path not in _OPEN_PATHS and not path.startswith(_OPEN_FOLDER):
            self._check_token(headers.getlist("authorization"))
        is_json = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and is_json != "application/json":
            raise RefusalError(415, "send JSON, with Content-Type: application/json")

    def _check_host(self, host: str) -> None:
        """Refuse other names of this machine, by which a foreign page could read answers.

        A name's owner can let it point at 127.0.0.1 (DNS rebinding).
        """
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if self._settings.is_local and name.lower() not in _LOCAL_NAMES:
            raise RefusalError(421, "this service goes by localhost and 127.0.0.1 only")

    def _check_token(self, given: Iterable[str]) -> None:
        token = self._settings.token
        if token is None:
            return
        words = next(iter(given), "").split(" ", 1)
        word = words[1].strip() if len(words) == 2 and words[0].lower() == "bearer" else ""
        if not hmac.compare_digest(word.encode("latin-1"), token.encode("latin-1")):
            raise RefusalError(
                401,
                "this service asks for its token: send the header Authorization: Bearer TOKEN",
                code="invalid_api_key",
            )

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._settings.max_body_bytes:
            await self._drop_rest(receive)
            raise self._too_long()
        try:
            return await asyncio.wait_for(self._collect(receive), self._settings.body_seconds)
        except asyncio.TimeoutError as error:
            raise RefusalError(408, "the body of the request did not arrive in time") from error

    async def _collect(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise RefusalError(400, "the connection closed before the request was whole")
            body += message.get("body", b"")
            if len(body) > self._settings.max_body_bytes:
                await self._drop_rest(receive)
                raise self._too_long()
            if not message.get("more_body", False):
                return bytes(body)

    async def _drop_rest(self, receive: Receive) -> None:
        """Read more of a body that is refused; a connection closed amid it loses the response."""
        num_left = _NUM_DROPPED * self._settings.max_body_bytes

        async def drop() -> None:
            nonlocal num_left
            while num_left > 0:
                message = await receive()
                num_left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(drop(), _DROPPING_S)

    def _too_long(self) -> RefusalError:
        return RefusalError(
            413, f"the body has more than {self._settings.max_body_bytes:,} bytes", code="too_long"
        )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read, and then what comes after it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
