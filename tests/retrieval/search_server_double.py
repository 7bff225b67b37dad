"""A small HTTP server on loopback that answers like Elasticsearch, and misbehaves on demand.

Its answers have the forms that Elasticsearch documents, cut to the fields that matter. Of its
repository (github.com/elastic/elasticsearch):

- ``_bulk``, and its items with an ``error`` of type and reason only: docs/reference/docs/
  bulk.asciidoc, "Example with failed actions";
- ``_msearch``, and ``error`` and ``status`` in place of a search that failed: docs/reference/
  search/multi-search.asciidoc, "Response body", and test/msearch/10_basic.yml of rest-api-spec,
  which expects ``root_cause`` there;
- 429 for one search or the whole request where memory runs short: pull request 156934;
- ``_mapping``, ``_count``, ``_refresh``, creating an index, and one that is not there (404): as
  an emulation of OpenSearch 3.8 that others wrote (osmem-server 0.1.6 on PyPI) answers.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class SearchServerDouble(ThreadingHTTPServer):
    """Keeps indexes in memory; a document's score is how many words of the question it holds."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.indexes: dict[str, dict[str, dict[str, str]]] = {}
        self.mappings: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.last_headers: dict[str, str] = {}
        self.last_lines: list[dict[str, Any]] = []
        # Answers to give instead of the right ones, first come first served.
        self.failures: list[tuple[int, dict[str, str], bytes]] = []
        # Ids of documents, or words of questions, that are refused with a status, once each.
        self.item_failures: dict[str, int] = {}
        self.failed_shards = 0
        # Whether to close the next connection without an answer.
        self.break_off_next = False

    def answer(self, method: str, path: str, lines: list[dict[str, Any]]) -> tuple[int, Any]:
        """Return status and JSON of the right answer."""
        if path == "/_bulk":
            items = [self._take(*lines[n : n + 2]) for n in range(0, len(lines), 2)]
            errors = any(item["index"]["status"] > 299 for item in items)
            return 200, {"took": 1, "errors": errors, "items": items}
        if path == "/_msearch":
            responses = [self._find(*lines[n : n + 2]) for n in range(0, len(lines), 2)]
            return 200, {"took": 1, "responses": responses}
        _, index, *action = path.split("/")
        if method == "PUT" and not action:
            self.indexes[index], self.mappings[index] = {}, lines[0]["mappings"]
            return 200, {"acknowledged": True, "index": index}
        if index not in self.indexes:
            return 404, {
                "error": _error("index_not_found_exception", f"no such index [{index}]"),
                "status": 404,
            }
        if action == ["_mapping"]:
            self.mappings[index].update(*lines)
            if method == "PUT":
                return 200, {"acknowledged": True}
            return 200, {f"{index}-000001": {"mappings": self.mappings[index]}}
        if action == ["_count"]:
            return 200, {"count": len(self.indexes[index])}
        return 200, {"_shards": {"total": 2, "successful": 1, "failed": 0}}

    def _take(self, action: dict[str, Any], source: dict[str, str]) -> dict[str, Any]:
        index, document_id = action["index"]["_index"], action["index"]["_id"]
        status = self.item_failures.pop(document_id, 201)
        outcome = {"_index": index, "_id": document_id, "status": status}
        if status == 201:
            self.indexes[index][document_id] = source
        else:
            kind = "es_rejected_execution" if status == 429 else "mapper_parsing"
            outcome["error"] = {"type": f"{kind}_exception", "reason": "no"}
        return {"index": outcome}

    def _find(self, header: dict[str, Any], search: dict[str, Any]) -> dict[str, Any]:
        match = search["query"]["multi_match"]
        words = match["query"].lower().split()
        for word in words:
            if status := self.item_failures.pop(word, 0):
                return {
                    "error": _error("circuit_breaking_exception", "too large"),
                    "status": status,
                }
        hits: list[dict[str, Any]] = []
        for document_id, source in self.indexes[header["index"]].items():
            text = " ".join(source[field] for field in match["fields"]).lower().split()
            if score := sum(word in text for word in words):
                hits.append({"_id": document_id, "_score": float(score)})
        hits.sort(key=lambda hit: -hit["_score"])
        shards = {"total": 2, "failed": self.failed_shards}
        return {"status": 200, "_shards": shards, "hits": {"hits": hits[: search["size"]]}}


class _Handler(BaseHTTPRequestHandler):
    server: SearchServerDouble

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.break_off_next:
            self.server.break_off_next = False
            self.close_connection = True
            return
        self.server.requests.append((self.command, self.path))
        self.server.last_headers = dict(self.headers)
        self.server.last_lines = [json.loads(line) for line in body.splitlines()]
        headers: dict[str, str] = {}
        if self.server.failures:
            status, headers, content = self.server.failures.pop(0)
        else:
            status, answer = self.server.answer(self.command, self.path, self.server.last_lines)
            content = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _error(kind: str, reason: str) -> dict[str, Any]:
    return {"root_cause": [{"type": kind, "reason": reason}], "type": kind, "reason": reason}


@contextmanager
def search_server_double() -> Iterator[SearchServerDouble]:
    """Yield a server that runs as long as the block."""
    server = SearchServerDouble()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
