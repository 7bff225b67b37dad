"""Documents to augment, and a server that does it."""

from collections.abc import Iterator

import pytest

from prag_lightning.documents.records import Document
from tests.augmentation.chat_server_double import ChatServerDouble


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(
            id=f"d{number}", text=f"Ada {number} was born in London. She lived to be 3{number}."
        )
        for number in range(5)
    ]


@pytest.fixture
def server() -> Iterator[ChatServerDouble]:
    with ChatServerDouble() as double:
        yield double
