"""A server with OpenAI's interface on loopback that misbehaves on demand."""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Behaviour = Callable[["Handler", dict[str, Any]], None]


def good_answer(body: dict[str, Any]) -> str:
    """Return what a model that does as it is told says, in words that depend on prompt and seed."""
    prompt = body["messages"][-1]["content"]
    speaker = letters(body["seed"])
    passage = prompt.partition("Passage:\n")[2]
    if not passage:
        return f"By {speaker}: {prompt.rpartition(chr(10))[2]}"
    words = passage.split()
    pairs = [
        {
            "question": f"Which word of {words[0]} is {number} for {speaker}?",
            "answer": words[place % len(words)],
            "full_answer": passage,
        }
        for place, number in enumerate(("first", "second", "third"))
    ]
    return json.dumps(pairs)


def letters(seed: int) -> str:
    """Return a word for a number: numbers would be strange to a document."""
    return "".join("abcdefghij"[int(digit)] for digit in str(seed))


def obey(handler: "Handler", body: dict[str, Any]) -> None:
    say(good_answer(body))(handler, body)


def say(text: str | None, finish_reason: str = "stop") -> Behaviour:
    """Answer with any text."""
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return send({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}})


def send(content: object, status: int = 200, **headers: str) -> Behaviour:
    """Answer with any status and JSON."""
    return lambda handler, body: handler.reply(json.dumps(content).encode(), status, headers)


def send_half(handler: "Handler", body: dict[str, Any]) -> None:
    """Break off in the middle of an answer."""
    handler.reply(b'{"choices": [{"mess', promised=4000)


def send_no_json(handler: "Handler", body: dict[str, Any]) -> None:
    handler.reply(b"<html>Welcome</html>")


def hang_up(handler: "Handler", body: dict[str, Any]) -> None:
    handler.close_connection = True


def keep_silent(seconds: float) -> Behaviour:
    def behave(handler: "Handler", body: dict[str, Any]) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return behave


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "ChatServerDouble"

    def do_GET(self) -> None:
        self.server.on_models(self, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.bodies.append(body)
            self.server.keys.append(self.headers.get("Authorization"))
            self.server.times.append(time.monotonic())
            self.server.num_open += 1
            self.server.most_open = max(self.server.most_open, self.server.num_open)
            script = self.server.script
            behave = script.popleft() if script else self.server.otherwise
        try:
            behave(self, body)
        finally:
            with self.server.lock:
                self.server.num_open -= 1

    def reply(
        self,
        content: bytes,
        status: int = 200,
        headers: dict[str, str] | None = None,
        promised: int | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(promised or len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)
        if promised:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class ChatServerDouble(ThreadingHTTPServer):
    """Answers each request by the next behaviour of ``script``, and ``otherwise`` after these."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: deque[Behaviour] = deque()
        self.otherwise: Behaviour = obey
        self.on_models: Behaviour = send({"data": [{"id": "tiny"}]})
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.num_open = self.most_open = 0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> "ChatServerDouble":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Do not mind clients that have gone."""

    def seeds(self, beginning: str = "I will provide") -> list[int]:
        """Return the seeds of the requests whose prompt begins so, in order of arrival."""
        prompt = re.compile(re.escape(beginning))
        return [
            body["seed"] for body in self.bodies if prompt.match(body["messages"][0]["content"])
        ]
