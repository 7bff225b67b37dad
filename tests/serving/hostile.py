"""Malformed and hostile requests, each of which deserves a 4xx."""

import json
import random
import socket
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any, NamedTuple

from tests.serving.running import question

CHAT, DOCUMENTS = "/v1/chat/completions", "/v1/documents"
_JSON = "application/json"
# Values that no field of a request takes but those that name them.
_JUNK: list[Any] = [{"a": {}}, [[[]]], "\u0000", "x" * 5000, -1e300, 10**400, {"$ref": "#"}]
_BAD_FIELDS: dict[str, list[Any]] = {
    "model": [None, 1, [], "", "gpt-4", "../prag", "prag\n", "x" * 100_000, "\u202e"],
    "messages": [None, [], "hi", [1], [{}], [{"role": "user"}], [{"role": "root", "content": "x"}]],
    "temperature": [2.5, -1, "hot", 0.7, [], True],
    "top_p": [0, 2, "x"],
    "n": [2, -1, "x", 10**30],
    "max_tokens": [0, -5, "many", 1.5, 10**400],
    "stop": ["x", ["a", "b"], 3],
    "stream": ["maybe", 3, []],
    "tools": [[{"type": "function"}], "x"],
    "logprobs": [True, "x"],
    "response_format": [{"type": "json_object"}, 1, {"type": {}}],
    "logit_bias": [{"1": 100}, 5],
    "prag": [1, {"weights": {}}, {"weights": {"a": 1e9}}, {"weights": {"nobody": 1}}, {"x": 1}],
    "presence_penalty": [1, "x"],
}
_BAD_DOCUMENTS: list[Any] = [
    *({}, {"text": ""}, {"text": "  "}, {"text": 1}, {"text": None}, [], "x", 1, None),
    *({"text": "a", "id": ""}, {"text": "a", "id": "x" * 300}, {"text": "a", "id": ["x"]}),
    *({"text": "a", "title": 5}, {"text": "a", "title": "x" * 2000}, {"text": "a", "extra": 1}),
]
_PATHS = [
    "/v1/../../etc/passwd",
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/v1/documents/%00",
    "/v1/documents/%ff%fe",
    "/v1/documents/%ed%a0%80",
    "/v1/documents/nobody/../else",
    "/v1/models/gpt-4",
    "/v1/models/%0d%0aSet-Cookie:x",
    "/v1/documents?limit=0",
    "/v1/documents?limit=99999999999999999999999",
    "/v1/documents?limit=%00",
    "/v1/completions",
    "/docs",
    "/" + "a" * 5000,
]
_WIRE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST /v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\n",
    b"POST /v1/documents HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: application/json\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"G\xc3\x89T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: [::1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
]


class Hostile(NamedTuple):
    """A request as bytes on the wire."""

    wire: bytes


def http(
    method: str, path: str, body: bytes = b"", kind: str = _JSON, host: str = "localhost"
) -> Hostile:
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return Hostile(head.encode() + body)


def hostile_requests(number: int, seed: int = 0) -> list[Hostile]:
    """Return requests of all kinds, the same ones for a seed."""
    chance = random.Random(seed)
    makers: list[Callable[[random.Random], Hostile]] = [
        _bytes, _cut, _deep, _bad_field, _unknown_field, _bad_document, _bad_path, _wrong_method,
        _wrong_kind, _too_large, _odd_number, _foreign_host, _on_the_wire, _surrogate,
    ]  # fmt: skip
    return [makers[place % len(makers)](chance) for place in range(number)]


def status_and_text(port: int, request: Hostile) -> tuple[int, str]:
    """Send a request, and return the status and the body of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        # It may be refused before it is whole.
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request.wire)
        response = HTTPResponse(connection)
        response.begin()
        try:
            return response.status, response.read().decode()
        except ConnectionResetError:
            # Uvicorn closes without reading the rest of a header that is too long.
            assert request.wire.find(b"\r\n\r\n") > 2**16 or b"\r\n\r\n" not in request.wire
            return response.status, "lost"


def _bytes(chance: random.Random) -> Hostile:
    return http("POST", CHAT, b"\xff" + chance.randbytes(chance.randrange(200)))


def _cut(chance: random.Random) -> Hostile:
    whole = json.dumps(question("Who?")).encode()
    return http("POST", CHAT, whole[: chance.randrange(1, len(whole))])


def _deep(chance: random.Random) -> Hostile:
    depth = chance.choice([500, 5_000, 100_000])
    opened, closed = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    inside = b"1" if opened != b"[" else b""
    return http("POST", chance.choice([CHAT, DOCUMENTS]), opened * depth + inside + closed * depth)


def _bad_field(chance: random.Random) -> Hostile:
    name = chance.choice(list(_BAD_FIELDS))
    value = chance.choice([*_BAD_FIELDS[name], *_JUNK])
    if name == "response_format" and value == {"$ref": "#"}:
        value = 3
    return http("POST", CHAT, json.dumps({**question("Who?"), name: value}).encode())


def _unknown_field(chance: random.Random) -> Hostile:
    name = chance.choice(["__proto__", "\ud800", "\x1b[31m", "x" * 9999, "a\nb", "\u202e", "%s{}"])
    return http("POST", CHAT, json.dumps({**question("Who?"), name: 1}).encode())


def _bad_document(chance: random.Random) -> Hostile:
    return http("POST", DOCUMENTS, json.dumps(chance.choice(_BAD_DOCUMENTS)).encode())


def _bad_path(chance: random.Random) -> Hostile:
    return http("GET", chance.choice(_PATHS))


def _wrong_method(chance: random.Random) -> Hostile:
    method = chance.choice(["PUT", "DELETE", "PATCH", "TRACE", "BREW", "OPTIONS"])
    return http(method, chance.choice([CHAT, DOCUMENTS, "/", "/health"]))


def _wrong_kind(chance: random.Random) -> Hostile:
    kind = chance.choice(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    return http("POST", DOCUMENTS, b'{"text": "Ada was born in Paris."}', kind)


def _too_large(chance: random.Random) -> Hostile:
    text = "a" * chance.choice([5_000, 2_000_000])
    return http("POST", CHAT, json.dumps(question(text)).encode())


def _odd_number(chance: random.Random) -> Hostile:
    number = chance.choice(["NaN", "Infinity", "1e999", "-0.1", "9" * 5000, "0x10", "01"])
    body = json.dumps(question("Who?"))[:-1] + f', "temperature": {number}}}'
    return http("POST", CHAT, body.encode())


def _foreign_host(chance: random.Random) -> Hostile:
    host = chance.choice(
        ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "[::2]", ""]
    )
    return http("GET", "/v1/models", host=host)


def _on_the_wire(chance: random.Random) -> Hostile:
    return Hostile(chance.choice(_WIRE))


def _surrogate(chance: random.Random) -> Hostile:
    text = chance.choice(["\ud800", "a\udfffb"])
    path, body = chance.choice(
        [
            (CHAT, question(text)),
            (DOCUMENTS, {"text": text}),
            (DOCUMENTS, {"id": text, "text": "a"}),
        ]
    )
    return http("POST", path, json.dumps(body).encode())
