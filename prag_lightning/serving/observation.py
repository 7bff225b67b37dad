"""Logs and counts every request: its route, status and time, and nothing that was said."""

import logging
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from prag_lightning.serving.errors import RefusalError
from prag_lightning.serving.metrics import ServingMetrics

_LOGGER = logging.getLogger(__name__)
_KNOWN_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
_CLOSED_BY_CLIENT = 499


class Observation:
    """Middleware that logs and counts requests, and answers for errors that nobody foresaw.

    Args:
        app: The app that is observed.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: ServingMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and log how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        request_id = uuid.uuid4().hex
        status = _CLOSED_BY_CLIENT

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            _LOGGER.error("unforeseen", exc_info=error)
            if status == _CLOSED_BY_CLIENT:
                refusal = RefusalError(500, "an error that nobody foresaw; the log names it")
                await refusal.response()(scope, receive, send_noting)
        finally:
            self._note(scope, status, time.perf_counter() - begun, request_id)

    def _note(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        # The route's pattern: paths that clients make up would each become a series.
        path = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _KNOWN_METHODS else "other"
        self._metrics.requests.labels(path, method, str(status)).inc()
        self._metrics.request_seconds.labels(path).observe(seconds)
        _LOGGER.info(
            "request",
            extra={
                "request_id": request_id,
                "client": scope["client"][0] if scope.get("client") else None,
                "method": method,
                "path": path,
                "status": status,
                "seconds": round(seconds, 4),
            },
        )
