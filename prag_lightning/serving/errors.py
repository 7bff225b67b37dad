"""Refusals: one line each, in the form of OpenAI's interface."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from prag_lightning.documents.terminal import without_controls

_LOGGER = logging.getLogger(__name__)
_MOST_CHARACTERS = 300
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_SERVER_ERROR = "server_error"
_REQUEST_ERROR = "invalid_request_error"
_SAYS = {
    400: "the body cannot be read as JSON",
    404: "there is no such page; /openapi.json lists what there is",
    405: "this address does not take that method; /openapi.json lists what it takes",
}


class RefusalError(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        message: What is wrong, and what to do, in one line.
        param: The field at fault.
        code: A word for programs to tell refusals apart by.
        retry_after: Seconds after which another try makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = one_line(message)
        self.param = None if param is None else one_line(param)
        self.code = code
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """Return the refusal in the form of OpenAI's errors."""
        kind = _SERVER_ERROR if self.status >= 500 else _TYPES.get(self.status, _REQUEST_ERROR)
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self) -> JSONResponse:
        """Return the refusal as an HTTP response."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def one_line(text: str) -> str:
    r"""Return a text as a short line that any terminal and any encoding can show.

    >>> one_line("a\n  b")
    'a b'
    """
    words = " ".join(without_controls(text).split())
    return words if len(words) <= _MOST_CHARACTERS else f"{words[:_MOST_CHARACTERS]} ..."


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error of an app in OpenAI's form, without a traceback."""

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        return refusal_of(error).response()

    for kind in (RefusalError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, refuse)


def refusal_of(error: BaseException) -> RefusalError:
    """Return how an error is told to a client; one that nobody foresaw is logged."""
    if isinstance(error, RefusalError):
        return error
    if isinstance(error, RequestValidationError):
        return _of_invalid_fields(error)
    if isinstance(error, HTTPException):
        return RefusalError(error.status_code, _SAYS.get(error.status_code, str(error.detail)))
    _LOGGER.error("unforeseen", exc_info=error)
    return RefusalError(500, "an error that nobody foresaw; the service's log names it")


def _of_invalid_fields(error: RequestValidationError) -> RefusalError:
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    if problem["type"] == "json_invalid":
        return RefusalError(400, "the body is not JSON", code="invalid_json")
    if problem["type"] == "extra_forbidden":
        message = f"there is no field '{'.'.join(path)}' here, or it is not supported"
    elif path:
        message = f"field '{'.'.join(path)}': {problem['msg']}"
    else:
        message = f"the body is no such object: {problem['msg']}"
    return RefusalError(400, message, param=".".join(path) or None, code="invalid_field")
