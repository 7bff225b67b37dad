"""BM25 by an Elasticsearch or OpenSearch server, for corpora that outgrow one machine."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.search_server import SearchServer, error_reason

_DOCUMENTS_A_REQUEST = 500
_QUESTIONS_A_REQUEST = 100


def build_index(documents: Iterable[Document], server: SearchServer, index: str) -> int:
    """Write the documents into an index of the server and return how many there are.

    Sending a document twice changes nothing, so a broken-off build is simply started again. Until
    the end the index is marked as unfinished, and retrievers refuse it.

    Raises:
        ConnectionError: If the server cannot be reached or stays busy.
        ValueError: If the server refuses a document, or the index then holds others as well.
    """
    _require_one_index(index)
    _create(server, index)
    num_documents = 0
    remaining = iter(documents)
    while batch := list(islice(remaining, _DOCUMENTS_A_REQUEST)):
        _write(server, index, batch)
        num_documents += len(batch)
    server.send("POST", f"/{index}/_refresh")
    _, counted = server.send("GET", f"/{index}/_count")
    if counted["count"] != num_documents:
        raise ValueError(
            f"index '{index}' at {server.address} holds {counted['count']} documents, the corpus "
            f"{num_documents}: it held others before, or ids are not unique; delete the index "
            f"(curl -X DELETE {server.address}/{index}) and build it again"
        )
    server.send("PUT", f"/{index}/_mapping", {"_meta": {"prag_unfinished": False}})
    return num_documents


def _create(server: SearchServer, index: str) -> None:
    unfinished = {"_meta": {"prag_unfinished": True}}
    status, _ = server.send("GET", f"/{index}/_mapping")
    if status == 200:
        server.send("PUT", f"/{index}/_mapping", unfinished)
        return
    english = {"type": "text", "analyzer": "english"}
    properties = {"title": english, "text": english}
    server.send("PUT", f"/{index}", {"mappings": {**unfinished, "properties": properties}})


def _write(server: SearchServer, index: str, batch: Sequence[Document]) -> None:
    outcomes = server.send_each(
        "/_bulk",
        batch,
        lines=lambda document: (
            {"index": {"_index": index, "_id": document.id}},
            {"title": document.title, "text": document.text},
        ),
        outcomes=lambda answer: [item["index"] for item in answer["items"]],
    )
    for outcome in outcomes:
        if outcome["status"] >= 300:
            raise ValueError(
                f"index '{index}' at {server.address} refused document '{outcome['_id']}': "
                f"{error_reason(outcome.get('error'))}"
            )


def _require_one_index(index: str) -> None:
    """Patterns such as ``*`` would name indexes of others."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", index):
        raise ValueError(
            f"'{index}' is no name for an index: take lower-case letters, digits, '.', '_' and '-'"
        )


class ElasticsearchRetriever(Retriever):
    """Finds documents with the published query: BM25 over two fields, the better one counts more.

    Args:
        index: Name of the index, or of an alias of it.
        url: Address of the server; see `SearchServer`.
        text_field: Field of the documents' texts; ``txt`` in an index of the published code.
    """

    def __init__(
        self, index: str, url: str = "http://localhost:9200", text_field: str = "text"
    ) -> None:
        _require_one_index(index)
        self._index = index
        self._server = SearchServer(url)
        self._fields = ["title", text_field]
        self._require_index()

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first.

        Raises:
            ConnectionError: If the server cannot be reached or stays busy.
            ValueError: If the server refuses a question.
        """
        found: list[list[RetrievedDocument]] = []
        for start in range(0, len(questions), _QUESTIONS_A_REQUEST):
            found += self._search(questions[start : start + _QUESTIONS_A_REQUEST], top_k)
        return found

    def _require_index(self) -> None:
        build = (
            f"build it: prag index elasticsearch CORPUS {self._index} --url {self._server.address}"
        )
        status, mappings = self._server.send("GET", f"/{self._index}/_mapping")
        if status == 404:
            raise FileNotFoundError(
                f"there is no index '{self._index}' at {self._server.address}; {build}"
            )
        for mapping in mappings.values():
            if mapping["mappings"].get("_meta", {}).get("prag_unfinished"):
                raise ValueError(
                    f"index '{self._index}' at {self._server.address} is unfinished; {build}"
                )

    def _search(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        responses = self._server.send_each(
            "/_msearch",
            questions,
            lines=lambda question: self._search_lines(question, top_k),
            outcomes=lambda answer: list(answer["responses"]),
        )
        return [self._read(*pair) for pair in zip(questions, responses, strict=True)]

    def _search_lines(
        self, question: Question, top_k: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        # Word frequencies over all shards, so that scores do not depend on where documents lie.
        header = {"index": self._index, "search_type": "dfs_query_then_fetch"}
        match = {
            "query": question.question,
            "type": "best_fields",
            "fields": self._fields,
            "tie_breaker": 0.5,
        }
        return header, {"size": top_k, "_source": False, "query": {"multi_match": match}}

    def _read(self, question: Question, response: dict[str, Any]) -> list[RetrievedDocument]:
        if "error" in response:
            raise ValueError(
                f"{self._server.address} refused question '{question.id}': "
                f"{error_reason(response['error'])}"
            )
        shards = response["_shards"]
        if shards["failed"]:
            raise ValueError(
                f"{self._server.address}: {shards['failed']} of {shards['total']} shards of index "
                f"'{self._index}' failed for question '{question.id}'; its documents would be "
                "incomplete"
            )
        return [RetrievedDocument(hit["_id"], hit["_score"]) for hit in response["hits"]["hits"]]
