"""The command ``prag serve``: a run as a service with OpenAI's interface and a page."""

import os
from collections.abc import Sequence
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from prag_lightning.answering.from_run import latest_run, settings_file
from prag_lightning.cli.uncollected import uncollected


def run_serve(args: Sequence[str]) -> int:
    """Run ``prag serve`` and return its exit status."""
    from prag_lightning.cli.one_line_parser import OneLineParser

    parser = OneLineParser(prog="prag serve", description="Answer questions over HTTP.")
    names = ("--open_to_all", "--open-to-all")
    words = "Listen on other addresses without a token: all who reach them may ask and add."
    parser.add_argument(*names, action="store_true", help=words)
    parser.add_function_arguments(serve, as_group=False, skip={"open_to_all"})
    serve(**vars(parser.parse_args(list(args))))
    return 0


def serve(
    run: Path | None = None,
    host: str = "127.0.0.1",
    port: NonNegativeInt = 8000,
    open_to_all: bool = False,
    max_waiting: PositiveInt = 64,
    max_documents: PositiveInt = 1000,
    requests_per_second: PositiveFloat = 100.0,
) -> None:
    """Answer questions over HTTP, in OpenAI's interface and on a page, until it is stopped.

    With a word in the environment variable PRAG_API_KEY, every request must carry it as its bearer
    token (`api_key` in OpenAI's clients).

    Args:
        run: Root folder of a run of `prag fit` (and possibly `prag test`), whose settings are used.
            By default it is the latest under `runs`.
        host: Address to listen on. Others than this machine's own need a token.
        port: Port to listen on; 0 takes any free one.
        open_to_all: Listen on other addresses without a token: everyone who reaches them may ask
            and add documents.
        max_waiting: How many questions may be answered or wait at one time.
        max_documents: How many added documents may wait to be encoded.
        requests_per_second: How many requests one client address may make, on average.

    Raises:
        FileNotFoundError: If there is no such run.
        ValueError: If the service would be open to others.
        ImportError: If the extra `serve` is not installed.
    """
    # Fail before the libraries are imported, which takes seconds.
    run_dir = latest_run() if run is None else run
    settings_file(run_dir)
    from prag_lightning.serving.settings import TOKEN_VARIABLE, ServingSettings

    settings = ServingSettings(
        run_dir=run_dir,
        host=host,
        port=port,
        token=os.environ.get(TOKEN_VARIABLE),
        open_to_all=open_to_all,
        max_waiting=max_waiting,
        max_documents=max_documents,
        requests_per_second=requests_per_second,
    )
    with uncollected():
        from prag_lightning.serving.server import run_server

    run_server(settings)
