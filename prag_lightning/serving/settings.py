"""Settings of a service: where it listens, who may ask, and how much."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

TOKEN_VARIABLE = "PRAG_API_KEY"
# A token in an HTTP header: visible ASCII.
_FIRST, _LAST = "!", "~"


@dataclass(frozen=True)
class ServingSettings:
    """Where a service listens, who may ask, and how much.

    Args:
        run_dir: Root folder of the run.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        token: Bearer token that requests must carry; None for none.
        open_to_all: Whether to listen on other addresses than the machine's own without a token.
        max_waiting: How many questions may be answered or wait at one time.
        max_documents: How many added documents may wait to be encoded.
        max_body_bytes: Largest body of a request.
        max_question_characters: Longest question.
        requests_per_second: How many requests a client may make, averaged over some seconds.
        body_seconds: How long the body of a request may take to arrive.
        shutdown_seconds: How long running requests may take to finish after SIGTERM.

    Raises:
        ValueError: If others could reach the service without a token, or the token is not one.
    """

    run_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    open_to_all: bool = False
    max_waiting: int = 64
    max_documents: int = 1000
    max_body_bytes: int = 1 << 20
    max_question_characters: int = 4000
    requests_per_second: float = 100.0
    body_seconds: float = 20.0
    shutdown_seconds: int = 20

    def __post_init__(self) -> None:
        """Refuse to be open to others without a token."""
        if self.token is not None and not _is_token(self.token):
            raise ValueError(
                f"the environment variable {TOKEN_VARIABLE} is empty or has spaces or characters "
                "outside ASCII; set it to a long random word, or unset it"
            )
        if self.token is None and not self.is_local and not self.open_to_all:
            raise ValueError(
                f"everyone who reaches {self.host} could ask and add documents; set a token in "
                f"the environment variable {TOKEN_VARIABLE}, or give --open_to_all"
            )

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def _is_token(word: str) -> bool:
    return bool(word) and all(_FIRST <= character <= _LAST for character in word)
