"""Server addresses, and removing passwords from them."""

import re
from typing import Any
from urllib.parse import urlsplit

_URL = re.compile(r"\s*[a-zA-Z][a-zA-Z0-9+.-]*://")
# HOST or HOST:PORT; the rest of the URL may contain an @ of its own.
_PLAIN_HOST = re.compile(r"(\[[^\]]*\]|[^/?#@:\[\]]*)(:\d+)?([/?#]|$)")
_SECRET_NAME = r"(?:key|token|secret|passw|auth|sig)"
_SECRET_IN_QUERY = re.compile(rf"([?&][^=&#]*{_SECRET_NAME}[^=&#]*=)[^&#]*", re.IGNORECASE)


def redacted(url: str) -> str:
    """Remove user and password from a URL, and replace keys in its query by ``***``.

    Any other text is returned unchanged.

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
        # A password may contain any character, including an unescaped @ or slash.
        rest = rest.rpartition("@")[2]
    return scheme[0] + _SECRET_IN_QUERY.sub(r"\1***", rest)


def without_passwords(settings: Any) -> Any:
    """Return settings in which all URLs, at any depth, are redacted.

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
    """Check the address of a server, and return it without a trailing slash.

    Args:
        url: Address that the user gave: scheme, host, port and path.
        credentials: Where to put user and password instead, for the error message.

    Raises:
        ValueError: If it is not an address, or contains a user, a password or a query, which would
            be saved with the settings of a run.
    """
    shown = redacted(url)
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        # Accessing the port validates it.
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
