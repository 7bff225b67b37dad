"""What real servers answered, as their users reported it, read again."""

import json
from typing import Any

import pytest

from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.elasticsearch import ElasticsearchRetriever, build_index
from prag_lightning.retrieval.search_server import SearchServer
from tests.retrieval.search_server_double import search_server_double

DOCUMENTS = [Document(id="a", text="one"), Document(id="b", text="two")]

_REJECTED = {
    "type": "es_rejected_execution_exception",
    "reason": "rejected execution of coordinating operation [coordinating_and_primary_bytes="
    "95396333, replica_bytes=0, all_bytes=95396333, coordinating_operation_bytes=22949230, "
    "max_coordinating_and_primary_bytes=107374182]",
}
_TOO_LARGE = {
    "type": "circuit_breaking_exception",
    "reason": "[parent] Data too large, data for [<http_request>] would be [1022127656/974.7mb], "
    "which is larger than the limit of [1020054732/972.7mb], real usage: [1022127656/974.7mb], "
    "new bytes reserved: [0/0b], usages [request=0/0b, fielddata=0/0b, in_flight_requests=0/0b, "
    "model_inference=0/0b, eql_sequence=0/0b, accounting=76897616/73.3mb]",
    "bytes_wanted": 1022127656,
    "bytes_limit": 1020054732,
    "durability": "PERMANENT",
}
# github.com/Smile-SA/elasticsuite/issues/2174 (2021) and
# github.com/openfoodfacts/openfoodfacts-infrastructure/issues/130 (2022).
BUSY = [
    {"error": {"root_cause": [error], **error}, "status": 429} for error in (_REJECTED, _TOO_LARGE)
]
# github.com/elasticsearch-dump/elasticsearch-dump/issues/580 (2019).
BUSY_ITEM = {
    "_index": "bigdata-2019-08-21",
    "_type": "_doc",
    "_id": "nxALtGwBdK9_roOG6s8a",
    "status": 429,
    "error": {
        "type": "es_rejected_execution_exception",
        "reason": "rejected execution of processing of [119310915][indices:data/write/bulk[s][p]]: "
        "request: BulkShardRequest [[bigdata-2019-08-21][0]] containing [129] requests, target "
        "allocation id: WItygVvVSdaPTZIxELeQCw, primary term: 1 on EsThreadPoolExecutor[name = "
        "node03/write, queue capacity = 200, org.elasticsearch.common.util.concurrent."
        "EsThreadPoolExecutor@184eb961[Running, pool size = 4, active threads = 4, queued tasks = "
        "201, completed tasks = 21687296]]",
    },
}
# An error of OpenSearch: github.com/langchain-ai/langchainjs/issues/844 (2023), shortened.
PARSING_ERROR = {
    "type": "mapper_parsing_exception",
    "reason": "failed to parse field [metadata.pdf] of type [keyword] in document with id "
    "'4a4f4611-6fa9-4443-adc3-48a4b59265d2'.",
    "caused_by": {
        "type": "illegal_state_exception",
        "reason": "Can't get text on a START_OBJECT at 1:19466",
    },
}
# github.com/sscarduzio/elasticsearch-readonlyrest-plugin/issues/274 (2017); later servers say more
# about `total`, which is not read.
NOTHING_FOUND = (
    b'{"responses":[{"took":0,"timed_out":false,"_shards":{"total":0,"successful":0,"failed":0},'
    b'"hits":{"total":0,"max_score":0.0,"hits":[]},"status":200}]}'
)


def body(content: Any) -> bytes:
    return json.dumps(content).encode()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds slept, without sleeping them."""
    slept: list[float] = []
    monkeypatch.setattr("httpx_retries.retry.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize("answer", BUSY, ids=["rejected", "too large"])
def test_a_server_that_was_busy_is_asked_again(answer: dict[str, Any], naps: list[float]) -> None:
    with search_server_double() as double:
        build_index(DOCUMENTS, SearchServer(double.url), "wiki")
        retriever = ElasticsearchRetriever("wiki", double.url)
        double.failures.append((429, {}, body(answer)))
        assert retriever.retrieve([Question(id="q", question="two")], 1) == [[("b", 1.0)]]
    assert naps == [0.5]


def test_a_document_that_was_rejected_is_sent_again_alone(naps: list[float]) -> None:
    taken = {"_index": "wiki", "_id": "a", "status": 201}
    items = [{"index": taken}, {"index": BUSY_ITEM}]
    with search_server_double() as double:
        double.indexes["wiki"], double.mappings["wiki"] = {"a": {}}, {}
        # Of the requests that come before the documents, the right answers.
        double.failures += [(200, {}, body({"wiki": {"mappings": {}}})), (200, {}, body({}))]
        double.failures.append((200, {}, body({"took": 1, "errors": True, "items": items})))
        build_index(DOCUMENTS, SearchServer(double.url), "wiki")
        # Sent once more, `a` would have a text.
        assert double.indexes["wiki"] == {"a": {}, "b": {"title": "", "text": "two"}}
    assert naps == [0.5]


def test_a_document_that_cannot_be_indexed_is_refused_with_the_server_s_reason() -> None:
    refused = {"_index": "wiki", "_id": "a", "status": 400, "error": PARSING_ERROR}
    items = [{"index": refused}, {"index": {"_index": "wiki", "_id": "b", "status": 201}}]
    with search_server_double() as double:
        double.failures += [(200, {}, body({"wiki": {"mappings": {}}})), (200, {}, body({}))]
        double.failures.append((200, {}, body({"took": 1, "errors": True, "items": items})))
        message = r"document 'a': mapper_parsing_exception: failed to parse field \[metadata.pdf\]"
        with pytest.raises(ValueError, match=message):
            build_index(DOCUMENTS, SearchServer(double.url), "wiki")


def test_a_search_that_found_nothing_finds_nothing() -> None:
    with search_server_double() as double:
        build_index(DOCUMENTS, SearchServer(double.url), "wiki")
        retriever = ElasticsearchRetriever("wiki", double.url)
        double.failures.append((200, {}, NOTHING_FOUND))
        assert retriever.retrieve([Question(id="q", question="two")], 3) == [[]]
