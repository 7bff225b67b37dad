"""Structured logs: one JSON object a line, on standard error."""

import logging
import sys

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

_LOGGERS = ("prag_lightning.serving", "uvicorn", "asyncio")


def configure_logging() -> None:
    """Write the service's log, and that of its web server, as JSON lines to standard error.

    Requests are logged without their headers, questions or answers.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            # What uvicorn adds for terminals.
            reserved_attrs=[*RESERVED_ATTRS, "color_message"],
            timestamp="time",
            json_ensure_ascii=False,
        )
    )
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.INFO)
