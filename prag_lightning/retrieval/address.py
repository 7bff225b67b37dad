"""Addresses of servers, without the passwords that people write into them."""

import re
from typing import Any
from urllib.parse import urlsplit

_URL = re.compile(r"\s*[a-zA-Z][a-zA-Z0-9+.-]*://")
# HOST or HOST:PORT; what comes later may hold an @ of its own.
_PLAIN_HOST = re.compile(r"(\[[^\]]*\]|[^/?#@:\[\]]*)(:\d+)?([/?#]|$)")
_SECRET_NAME = r"(?:key|token|secret|passw|auth|sig)"
_SECRET_IN_QUERY = re.compile(rf"([?&][^=&#]*{_SECRET_NAME}[^=&#]*=)[^&#]*", re.IGNORECASE)


def redacted(url: str) -> str:
    """Return a URL without user and password, and with ``***`` for keys in its query.

    Any other text comes back as it is.

    >>> redacted("https://elastic:s3cret@host:9200/wiki?api_key=abc")
    'https://host:9200/wiki?api_key=***'
    >>> redacted("who is admin@host?")
    'who is admin@host?'
    """
    scheme = _URL.match(url)
    if scheme is None:
        return url
    rest = url[scheme.end() :]
    if not _PLAIN_HOST.match(rest):
        # A password can hold any sign, an @ or a slash that should have been escaped among them.
        rest = rest.rpartition("@")[2]
    return scheme[0] + _SECRET_IN_QUERY.sub(r"\1***", rest)


def without_passwords(settings: Any) -> Any:
    """Return settings with every URL in them, at whatever depth, redacted.

    >>> without_passwords({"retriever": {"url": "http://me:s3cret@host"}, "top_k": 3})
    {'retriever': {'url': 'http://host'}, 'top_k': 3}
    """
    if isinstance(settings, str):
        return redacted(settings)
    if isinstance(settings, dict):
        return {key: without_passwords(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return type(settings)(without_passwords(value) for value in settings)
    return settings


def require_address(url: str, credentials: str) -> str:
    """Return the address of a server: scheme, host, port and path, without a slash at the end.

    Args:
        url: What a user wrote.
        credentials: Where user and password belong, for the message.

    Raises:
        ValueError: If it is no address, or holds a user, a password or a query: it would be kept
            in the settings of a run.
    """
    shown = redacted(url)
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        # Reading it checks it.
        _ = parts.port
    except ValueError:
        is_address = False
    if shown != url or (is_address and (parts.query or parts.fragment or "@" in parts.netloc)):
        raise ValueError(
            f"the address '{shown}' was given with a user, password or query, which would be kept "
            f"in the settings of runs; give scheme, host and port only, and {credentials}"
        )
    if not is_address or not url.isprintable() or " " in url:
        raise ValueError(f"'{shown}' is no address; give one such as http://localhost:9200")
    return url.rstrip("/")
