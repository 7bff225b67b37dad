"""Runs the web application until it is told to stop."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from filelock import FileLock, Timeout

from prag_lightning.serving.app import create_app
from prag_lightning.serving.log_lines import configure_logging
from prag_lightning.serving.settings import ServingSettings


def run_server(settings: ServingSettings) -> None:
    """Serve a run until SIGTERM or Ctrl-C; requests that run are finished first.

    Args:
        settings: The service's settings.

    Raises:
        FileNotFoundError: If the run lacks something.
        ValueError: If the run is damaged.
        OSError: If the address cannot be listened on, or another service is on this run.
    """
    configure_logging()
    _leave_a_core()
    with _only_service_of(settings.run_dir):
        _run(settings)


def _leave_a_core() -> None:
    """Leave a core to HTTP: a thread of torch's that has to wait for one holds up the others."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def _run(settings: ServingSettings) -> None:
    def stop() -> None:
        server.should_exit = True

    app = create_app(settings, stop)
    server = uvicorn.Server(uvicorn_config(app, settings))

    with listen(settings) as listener:
        address = _address(listener)
        print(f"the page is at {address}/, OpenAI's interface at {address}/v1", flush=True)
        # uvicorn raises its signals once more when it has stopped; SIGTERM then ends nothing.
        signal.signal(signal.SIGTERM, lambda *_: None)
        server.run([listener])
    if app.state.service.problem is not None:
        raise app.state.service.problem


def uvicorn_config(app: FastAPI, settings: ServingSettings) -> uvicorn.Config:
    """Return how uvicorn serves an application.

    Args:
        app: The application.
        settings: The service's settings.
    """
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # httptools, which uvicorn prefers, takes headers of any length, and several hosts.
        http="h11",
        # Clients could give themselves any address.
        proxy_headers=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


@contextmanager
def _only_service_of(run_dir: Path) -> Iterator[None]:
    """Hold the right to take documents for a run; it ends with the process."""
    lock = run_dir / "serving" / ".lock"
    lock.parent.mkdir(exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise BlockingIOError(
            f"{run_dir}: another service answers from this run; stop it, or ask that one"
        ) from None


def listen(settings: ServingSettings) -> socket.socket:
    """Return a socket on which to accept connections.

    Raises:
        OSError: If the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OSError(
            f"{settings.host}:{settings.port}: cannot be listened on ({reason}); another --port "
            "may be free"
        ) from error
    # Otherwise the end of a response waits 40 ms for the client to acknowledge its beginning.
    # Connections inherit it; asyncio sets it only on sockets that name their protocol.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
