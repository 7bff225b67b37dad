"""Several clients of a service in one thread, which take a tenth of a millisecond for a question.

Reads a port, a number of clients and the bodies of requests as JSON from standard input, and writes
the seconds that all took, and each response with its own seconds, to standard output. It is a
process of its own, so that it waits for no lock of Python's that the measuring process holds.
"""

import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

_HEAD_END = b"\r\n\r\n"


class Client:
    """A client that sends one request after another on one connection.

    Args:
        port: Port of the service.
        requests: Number and bytes of each request; shared by all clients.
    """

    def __init__(self, port: int, requests: Iterator[tuple[int, bytes]]) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = requests
        self._received = b""

    def send_next(self) -> bool:
        """Send the next request, and return whether there was one."""
        numbered = next(self._requests, None)
        if numbered is None:
            self.connection.close()
            return False
        self._number, request = numbered
        self._begun = time.perf_counter()
        self.connection.sendall(request)
        return True

    def receive(self) -> tuple[int, Any, float] | None:
        """Return the number of the request, the response and its seconds, once it is whole."""
        self._received += self.connection.recv(1 << 16)
        head, mark, body = self._received.partition(_HEAD_END)
        if not mark:
            return None
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(body) < int(lines[b"content-length"]):
            return None
        self._received = b""
        seconds = time.perf_counter() - self._begun
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise OSError(f"the service answered {head.decode()}: {body.decode()}")
        return self._number, json.loads(body), seconds


def request_bytes(body: dict[str, Any]) -> bytes:
    """Return a request for an answer as it is sent."""
    text = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text


def main() -> None:
    """Send all requests, and write what came back."""
    asked = json.load(sys.stdin)
    requests = enumerate([request_bytes(body) for body in asked["bodies"]])
    clients = [Client(asked["port"], requests) for _ in range(asked["num_clients"])]
    answers: dict[int, Any] = {}
    begun = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            if client.send_next():
                selector.register(client.connection, selectors.EVENT_READ, client)
        while selector.get_map():
            for key, _ in selector.select():
                if (received := key.data.receive()) is None:
                    continue
                number, response, seconds = received
                answers[number] = (response, seconds)
                selector.unregister(key.fileobj)
                if key.data.send_next():
                    selector.register(key.fileobj, selectors.EVENT_READ, key.data)
    seconds = time.perf_counter() - begun
    json.dump([seconds, [answers[number] for number in range(len(answers))]], sys.stdout)


if __name__ == "__main__":
    main()
