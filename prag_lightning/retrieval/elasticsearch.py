"""BM25 on an Elasticsearch or OpenSearch server, for corpora too large for one machine."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.documents.still_running import still_running
from prag_lightning.retrieval.base import Retriever, require_positive
from prag_lightning.retrieval.extras import require_libraries
from prag_lightning.retrieval.search_answers import (
    BulkAnswer,
    CountAnswer,
    Found,
    MappingsAnswer,
    SearchesAnswer,
    error_reason,
)
from prag_lightning.retrieval.unique import UniqueDocuments

if TYPE_CHECKING:
    from prag_lightning.retrieval.search_server import SearchServer

_DOCUMENTS_A_REQUEST = 500
_QUESTIONS_A_REQUEST = 100


def open_server(url: str) -> "SearchServer":
    """Return the server at an address; see `SearchServer`.

    Raises:
        ValueError: If the libraries are missing, or the address is invalid.
    """
    require_libraries("elasticsearch", "httpx", "httpx_retries")
    from prag_lightning.retrieval.search_server import SearchServer

    return SearchServer(url)


def build_index(documents: Iterable[Document], server: "SearchServer", index: str) -> int:
    """Write documents to an index on a server, and return their number.

    Exact duplicates are indexed once. Sending a document twice has no effect, so an interrupted
    build can simply be restarted. Until it is complete, the index is marked as unfinished, and
    retrievers reject it.

    Args:
        documents: The documents to index.
        server: The server.
        index: Name of the index; created if it does not exist.

    Returns:
        The number of distinct documents.

    Raises:
        ConnectionError: If the server cannot be reached or stays busy.
        ValueError: If the server rejects a document, two different documents share an id, there are
            none, or the index finally contains other documents as well.
    """
    _require_one_index(index)
    _create(server, index)
    unique = UniqueDocuments(documents)
    remaining = iter(unique)
    with still_running(
        lambda: (
            f"indexing in '{index}' at {server.address}: {unique.num_documents:,} documents so far"
        )
    ):
        while batch := list(islice(remaining, _DOCUMENTS_A_REQUEST)):
            _write(server, index, batch)
        server.send("POST", f"/{index}/_refresh")
    path = f"/{index}/_count"
    count = server.parse(CountAnswer, server.send("GET", path)[1], f"GET {path}").count
    if count != unique.num_documents:
        raise ValueError(
            f"index '{index}' at {server.address} holds {count} documents, the corpus "
            f"{unique.num_documents}: it held others before; delete the index "
            f"(curl -X DELETE {server.address}/{index}) and build it again"
        )
    server.send("PUT", f"/{index}/_mapping", {"_meta": {"prag_unfinished": False}})
    return unique.num_documents


def _create(server: "SearchServer", index: str) -> None:
    unfinished = {"_meta": {"prag_unfinished": True}}
    status, _ = server.send("GET", f"/{index}/_mapping")
    if status == 200:
        server.send("PUT", f"/{index}/_mapping", unfinished)
        return
    english = {"type": "text", "analyzer": "english"}
    properties = {"title": english, "text": english}
    server.send("PUT", f"/{index}", {"mappings": {**unfinished, "properties": properties}})


def _write(server: "SearchServer", index: str, batch: Sequence[Document]) -> None:
    outcomes = server.send_each(
        "/_bulk",
        batch,
        lines=lambda document: (
            {"index": {"_index": index, "_id": document.id}},
            {"title": _composed(document.title), "text": _composed(document.text)},
        ),
        outcomes=lambda answer: [
            item.index for item in server.parse(BulkAnswer, answer, "POST /_bulk").items
        ],
    )
    for outcome in outcomes:
        if outcome.status is None or outcome.status >= 300:
            raise ValueError(
                f"index '{index}' at {server.address} refused document '{outcome.id}': "
                f"{error_reason(outcome.error)}"
            )


def _composed(text: str) -> str:
    """Return the text in Unicode's composed form (NFC), since the server compares code points."""
    return unicodedata.normalize("NFC", text)


def _require_one_index(index: str) -> None:
    """Reject patterns such as ``*``, which could match other people's indexes."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", index):
        raise ValueError(
            f"'{index}' is no name for an index; use lower-case letters, digits, '.', '_' and '-'"
        )


class ElasticsearchRetriever(Retriever):
    """Finds documents with the published query: BM25 over two fields, favoring the better one.

    Args:
        index: Name or alias of the index.
        url: Address of the server, without user and password; see `SearchServer`.
        text_field: Field with the documents' texts; ``txt`` in an index of the published code.

    Raises:
        FileNotFoundError: If there is no such index; the message names the command that builds it.
        ConnectionError: If the server cannot be reached or stays busy.
        ValueError: If the index is unfinished, or the server rejects the request.
    """

    def __init__(
        self, index: str, url: str = "http://localhost:9200", text_field: str = "text"
    ) -> None:
        _require_one_index(index)
        self._index = index
        self._server = open_server(url)
        self._fields = ["title", text_field]
        self._require_index()

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        """Return up to ``top_k`` documents for each question, best first.

        Args:
            questions: The questions.
            top_k: Maximum number of documents per question.

        Raises:
            ConnectionError: If the server cannot be reached or stays busy.
            ValueError: If the server rejects a question, or ``top_k`` is less than 1.
        """
        require_positive(top_k)
        found: list[list[RetrievedDocument]] = []
        for start in range(0, len(questions), _QUESTIONS_A_REQUEST):
            found += self._search(questions[start : start + _QUESTIONS_A_REQUEST], top_k)
        return found

    def _require_index(self) -> None:
        build = (
            f"build it: prag index elasticsearch CORPUS {self._index} --url {self._server.address}"
        )
        path = f"/{self._index}/_mapping"
        status, answer = self._server.send("GET", path)
        if status == 404:
            raise FileNotFoundError(
                f"there is no index '{self._index}' at {self._server.address}; {build}"
            )
        found = self._server.parse(MappingsAnswer, {"indexes": answer}, f"GET {path}")
        if any(one.mappings.meta.prag_unfinished for one in found.indexes.values()):
            raise ValueError(
                f"index '{self._index}' at {self._server.address} is unfinished; {build}"
            )

    def _search(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        server = self._server
        responses = server.send_each(
            "/_msearch",
            questions,
            lines=lambda question: self._search_lines(question, top_k),
            outcomes=lambda answer: (
                server.parse(SearchesAnswer, answer, "POST /_msearch").responses
            ),
        )
        return [self._read(*pair) for pair in zip(questions, responses, strict=True)]

    def _search_lines(
        self, question: Question, top_k: int
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        # Use global word frequencies, so that scores do not depend on the shard of a document.
        header = {"index": self._index, "search_type": "dfs_query_then_fetch"}
        match = {
            "query": _composed(question.question),
            "type": "best_fields",
            "fields": self._fields,
            "tie_breaker": 0.5,
        }
        return header, {"size": top_k, "_source": False, "query": {"multi_match": match}}

    def _read(self, question: Question, response: Found) -> list[RetrievedDocument]:
        address = self._server.address
        if response.error is not None:
            raise ValueError(
                f"{address} refused question '{question.id}': {error_reason(response.error)}"
            )
        shards = response.shards
        if shards.failed:
            raise ValueError(
                f"{address}: {shards.failed} of {shards.total} shards of index '{self._index}' "
                f"failed for question '{question.id}'; its documents would be incomplete"
            )
        return [RetrievedDocument(hit.id, hit.score) for hit in response.hits.hits]
