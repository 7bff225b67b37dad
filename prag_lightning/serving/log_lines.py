"""Structured logs: one JSON object a line, on standard error."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_LIBRARIES = ("uvicorn", "uvicorn.error", "asyncio")


def configure_logging(level: str = "INFO") -> None:
    """Write the service's log, and that of its web server, as JSON lines to standard error.

    Requests are logged without their headers, questions or answers.

    Args:
        level: The least severity that is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "%(levelname)s %(name)s %(message)s",
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
            json_ensure_ascii=False,
        )
    )
    for name in ("prag_lightning.serving", *_LIBRARIES):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if "." not in name or name.startswith("prag") else []
        logger.propagate = "." in name and not name.startswith("prag")
        logger.setLevel(level)
