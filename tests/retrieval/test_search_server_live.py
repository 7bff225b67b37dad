"""Against the Elasticsearch or OpenSearch that ``PRAG_SEARCH_SERVER`` names, where it names one."""

import os
import uuid
from collections.abc import Iterator

import pytest

from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.elasticsearch import ElasticsearchRetriever, build_index
from prag_lightning.retrieval.search_server import SearchServer

URL = os.environ.get("PRAG_SEARCH_SERVER", "")
pytestmark = pytest.mark.skipif(not URL, reason="PRAG_SEARCH_SERVER names no server")

DOCUMENTS = [
    Document(id="a/b", title="Paris", text="The capital of France."),
    Document(id="Rome é", title="Rome", text="The capital of Italy, on a river."),
    Document(id="tiber", title="Tiber", text="A river through Rome."),
]


@pytest.fixture
def index() -> Iterator[str]:
    """The name of an index that is not there yet, and is removed in the end."""
    name = f"prag-test-{uuid.uuid4().hex}"
    yield name
    SearchServer(URL).send("DELETE", f"/{name}")


def test_documents_are_indexed_found_and_indexed_again(index: str) -> None:
    server = SearchServer(URL)
    with pytest.raises(FileNotFoundError, match=f"there is no index '{index}'"):
        ElasticsearchRetriever(index, URL)
    for _ in range(2):
        assert build_index(DOCUMENTS, server, index) == 3
    questions = ["Which rivers?", "France's capital", "qwertz", 'AND "Rome (x: title:y/*']
    asked = [Question(id=str(number), question=text) for number, text in enumerate(questions)]
    found = ElasticsearchRetriever(index, URL).retrieve(asked, top_k=2)
    ids = [[one.document_id for one in ranking] for ranking in found]
    assert set(ids[0]) == {"tiber", "Rome é"}
    assert ids[1] == ["a/b", "Rome é"]
    assert ids[2] == []
    assert set(ids[3]) == {"tiber", "Rome é"}
    assert found[1][0].score > found[1][1].score > 0


def test_an_index_with_other_documents_in_it_is_told(index: str) -> None:
    server = SearchServer(URL)
    build_index(DOCUMENTS, server, index)
    with pytest.raises(ValueError, match="holds 3 documents, the corpus 1"):
        build_index(DOCUMENTS[:1], server, index)
    with pytest.raises(ValueError, match=f"'{index}' at .* is unfinished; build it"):
        ElasticsearchRetriever(index, URL)


def test_what_the_server_refuses_is_told_with_its_reason(index: str) -> None:
    too_long = Document(id="x" * 600, text="An id has 512 bytes at most.")
    with pytest.raises(ValueError, match=r"refused .*(too long|512)"):
        build_index([too_long], SearchServer(URL), index)
