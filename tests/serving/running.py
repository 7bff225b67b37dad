"""A service that runs in a thread of the test's own process, on a real socket."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import uvicorn

from prag_lightning.serving.app import create_app
from prag_lightning.serving.server import uvicorn_config
from prag_lightning.serving.service import Service
from prag_lightning.serving.settings import ServingSettings

MAY_LOAD_S = 120


class Running(NamedTuple):
    """A service that answers."""

    url: str
    port: int
    client: httpx.Client
    service: Service


@contextmanager
def running(run_dir: Path, **settings: Any) -> Iterator[Running]:
    """Serve a run until the block ends."""
    settings = {"requests_per_second": 10_000, "shutdown_seconds": 5, **settings}
    served = ServingSettings(run_dir, **settings)
    app = create_app(served)
    server = uvicorn.Server(uvicorn_config(app, served))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    url = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {settings['token']}"} if settings.get("token") else {}
    try:
        with httpx.Client(base_url=url, timeout=60, headers=headers) as client:
            wait_until_ready(client)
            yield Running(url, port, client, app.state.service)
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


def wait_until_ready(client: httpx.Client) -> None:
    begun = time.monotonic()
    while client.get("/health").status_code != 200:
        assert time.monotonic() - begun < MAY_LOAD_S
        time.sleep(0.02)


def question(text: str, model: str = "prag", **more: Any) -> dict[str, Any]:
    """Return the body of a request for an answer."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}
