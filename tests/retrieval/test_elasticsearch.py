"""Retrieval from a search server: what is sent, and what comes of its moods."""

import json
import time
import unicodedata
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from prag_lightning.documents import still_running
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.retrieval import extras
from prag_lightning.retrieval.elasticsearch import ElasticsearchRetriever, build_index
from prag_lightning.retrieval.search_server import SearchServer
from tests.retrieval.search_server_double import SearchServerDouble, search_server_double

DOCUMENTS = [
    Document(id="a/b", title="Paris", text="capital of France"),
    Document(id="rome", title="Rome", text="capital of Italy"),
    Document(id="tiber", title="Tiber", text="river through Rome , once the capital"),
]
QUESTIONS = [
    Question(id="q1", question="rome river capital"),
    Question(id="q2", question="qwertz"),
    Question(id="q3", question="France"),
]


@pytest.fixture
def double() -> Iterator[SearchServerDouble]:
    with search_server_double() as server:
        yield server


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds slept, without sleeping them."""
    slept: list[float] = []
    monkeypatch.setattr("httpx_retries.retry.time.sleep", slept.append)
    return slept


@pytest.fixture
def wiki(double: SearchServerDouble) -> SearchServerDouble:
    """A server with the documents in its index ``wiki``, and an empty list of requests."""
    build_index(DOCUMENTS, SearchServer(double.url), "wiki")
    double.requests.clear()
    return double


def ids(rankings: list[list[RetrievedDocument]]) -> list[list[str]]:
    return [[found.document_id for found in ranking] for ranking in rankings]


def test_documents_are_indexed_and_found(double: SearchServerDouble) -> None:
    assert build_index(iter(DOCUMENTS), SearchServer(double.url), "wiki") == 3
    assert double.indexes["wiki"]["a/b"] == {"title": "Paris", "text": "capital of France"}
    english = {"type": "text", "analyzer": "english"}
    assert double.mappings["wiki"]["properties"] == {"title": english, "text": english}
    found = ElasticsearchRetriever("wiki", double.url).retrieve(QUESTIONS, top_k=2)
    assert found == [[("tiber", 3.0), ("rome", 2.0)], [], [("a/b", 1.0)]]


def test_the_query_is_the_published_one(wiki: SearchServerDouble) -> None:
    ElasticsearchRetriever("wiki", wiki.url).retrieve(QUESTIONS[:1], top_k=3)
    assert wiki.requests[-1] == ("POST", "/_msearch")
    assert wiki.last_headers["Content-Type"] == "application/x-ndjson"
    header, search = wiki.last_lines
    assert header == {"index": "wiki", "search_type": "dfs_query_then_fetch"}
    assert search == {
        "size": 3,
        "_source": False,
        "query": {
            "multi_match": {
                "query": "rome river capital",
                "type": "best_fields",
                "fields": ["title", "text"],
                "tie_breaker": 0.5,
            }
        },
    }


def test_an_index_of_the_published_code_can_be_searched(wiki: SearchServerDouble) -> None:
    wiki.indexes["wiki"] = {"7": {"title": "Rome", "txt": "a river"}}
    wiki.mappings["wiki"] = {}
    retriever = ElasticsearchRetriever("wiki", wiki.url, text_field="txt")
    assert retriever.retrieve(QUESTIONS[:1], top_k=1) == [[("7", 2.0)]]


def test_many_questions_and_documents_go_in_several_requests(double: SearchServerDouble) -> None:
    documents = (Document(id=str(n), text=f"word{n}") for n in range(1001))
    assert build_index(documents, SearchServer(double.url), "wiki") == 1001
    assert [path for _, path in double.requests].count("/_bulk") == 3
    asked = [Question(id=str(n), question=f"word{n}") for n in range(150)]
    found = ElasticsearchRetriever("wiki", double.url).retrieve(asked, top_k=1)
    assert ids(found) == [[question.id] for question in asked]
    assert [path for _, path in double.requests].count("/_msearch") == 2


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_later(
    wiki: SearchServerDouble, naps: list[float], status: int
) -> None:
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    for headers in ({}, {"Retry-After": "7"}, {"Retry-After": in_a_minute}, {"Retry-After": "?"}):
        wiki.failures.append((status, headers, b"busy"))
    retriever = ElasticsearchRetriever("wiki", wiki.url)
    assert ids(retriever.retrieve(QUESTIONS[2:], top_k=1)) == [["a/b"]]
    assert naps == [0.5, 7.0, pytest.approx(60, abs=2), 4.0]


def test_a_server_that_stays_busy_is_given_up(wiki: SearchServerDouble, naps: list[float]) -> None:
    wiki.failures += [(503, {}, b"")] * 6
    with pytest.raises(
        ConnectionError, match=r"too busy for GET /wiki/_mapping 6 times; start the"
    ):
        ElasticsearchRetriever("wiki", wiki.url)
    assert naps == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_only_the_documents_that_were_rejected_are_sent_again(
    double: SearchServerDouble, naps: list[float]
) -> None:
    double.item_failures = {"rome": 429}
    assert build_index(DOCUMENTS, SearchServer(double.url), "wiki") == 3
    assert sorted(double.indexes["wiki"]) == ["a/b", "rome", "tiber"]
    assert naps == [0.5]


def test_only_the_questions_that_were_rejected_are_asked_again(
    wiki: SearchServerDouble, naps: list[float]
) -> None:
    wiki.item_failures = {"river": 429}
    found = ElasticsearchRetriever("wiki", wiki.url).retrieve(QUESTIONS, top_k=1)
    assert [len(ranking) for ranking in found] == [1, 0, 1]
    assert naps == [0.5]


def test_a_question_that_stays_rejected_is_given_up(
    wiki: SearchServerDouble, naps: list[float]
) -> None:
    retriever = ElasticsearchRetriever("wiki", wiki.url)
    busy = json.dumps({"responses": [{"status": 429, "error": "busy"}]}).encode()
    wiki.failures += [(200, {}, busy)] * 6
    with pytest.raises(ConnectionError, match=r"too busy for 1 items of POST /_msearch 6 times"):
        retriever.retrieve(QUESTIONS[:1], top_k=1)


def test_a_refused_document_is_named(double: SearchServerDouble) -> None:
    double.item_failures = {"rome": 400}
    with pytest.raises(ValueError, match="refused document 'rome': mapper_parsing_exception: no"):
        build_index(DOCUMENTS, SearchServer(double.url), "wiki")


def test_a_refused_question_is_named(wiki: SearchServerDouble) -> None:
    wiki.item_failures = {"river": 400}
    with pytest.raises(ValueError, match=r"refused question 'q1': circuit_breaking_.*: too large"):
        ElasticsearchRetriever("wiki", wiki.url).retrieve(QUESTIONS, top_k=1)


def test_an_answer_of_some_shards_only_is_refused(wiki: SearchServerDouble) -> None:
    wiki.failed_shards = 1
    with pytest.raises(ValueError, match="1 of 2 shards of index 'wiki' failed for question 'q1'"):
        ElasticsearchRetriever("wiki", wiki.url).retrieve(QUESTIONS, top_k=1)


def test_a_broken_off_build_is_noticed_and_can_be_repeated(double: SearchServerDouble) -> None:
    double.item_failures = {"tiber": 400}
    with pytest.raises(ValueError, match="refused document 'tiber'"):
        build_index(DOCUMENTS, SearchServer(double.url), "wiki")
    with pytest.raises(
        ValueError, match=r"'wiki' at .* is unfinished; build it: prag index elastic"
    ):
        ElasticsearchRetriever("wiki", double.url)
    build_index(DOCUMENTS, SearchServer(double.url), "wiki")
    assert ElasticsearchRetriever("wiki", double.url).retrieve(QUESTIONS[2:], top_k=1)[0]


def test_an_index_that_holds_other_documents_is_refused(wiki: SearchServerDouble) -> None:
    with pytest.raises(ValueError, match=r"holds 3 documents, the corpus 2: .*curl -X DELETE http"):
        build_index(DOCUMENTS[:2], SearchServer(wiki.url), "wiki")


def test_a_missing_server_names_the_command_that_starts_one() -> None:
    started = time.monotonic()
    with pytest.raises(
        ConnectionError, match=r"no search server answers at http://127.0.0.1:1 .*d"
    ):
        ElasticsearchRetriever("wiki", "http://127.0.0.1:1")
    assert time.monotonic() - started < 5


def test_a_missing_index_names_the_command_that_builds_it(double: SearchServerDouble) -> None:
    with pytest.raises(FileNotFoundError, match=r"no index 'wiki' at .*: prag index elasticsearch"):
        ElasticsearchRetriever("wiki", double.url)


@pytest.mark.parametrize("name", ["*", "a,b", "../x", "Wiki", ""])
def test_a_name_that_could_mean_several_indexes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for an index"):
        build_index(DOCUMENTS, SearchServer("http://127.0.0.1:1"), name)
    with pytest.raises(ValueError, match="is no name for an index"):
        ElasticsearchRetriever(name, "http://127.0.0.1:1")


def test_a_password_comes_from_the_environment_and_is_never_shown(
    wiki: SearchServerDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    ElasticsearchRetriever("wiki", wiki.url)
    assert "Authorization" not in wiki.last_headers
    monkeypatch.setenv("PRAG_SEARCH_USER", "elastic")
    with pytest.raises(ValueError, match="environment variable PRAG_SEARCH_PASSWORD is not set"):
        ElasticsearchRetriever("wiki", wiki.url)
    monkeypatch.setenv("PRAG_SEARCH_PASSWORD", "s3cret")
    ElasticsearchRetriever("wiki", wiki.url)
    assert wiki.last_headers["Authorization"] == "Basic ZWxhc3RpYzpzM2NyZXQ="
    wiki.failures.append((401, {}, b""))
    with pytest.raises(ValueError, match="wants to know who asks, or does not know them; set the"):
        ElasticsearchRetriever("wiki", wiki.url)
    with pytest.raises(ConnectionError) as missing:
        ElasticsearchRetriever("wiki", "http://127.0.0.1:1")
    assert "s3cret" not in str(missing.value)


@pytest.mark.parametrize(
    "start", ["http://elastic:s3cret@", "http://elastic:s3/cr@et@", "http://s3cret@"]
)
def test_a_password_in_an_address_is_refused_and_not_shown(start: str) -> None:
    with pytest.raises(ValueError, match="PRAG_SEARCH_USER and PRAG_SEARCH_PASSWORD") as refused:
        ElasticsearchRetriever("wiki", f"{start}host:9200")
    assert "s3" not in str(refused.value)
    assert "the address 'http://host:9200' was given with" in str(refused.value)


@pytest.mark.parametrize(
    "url", ["localhost:9200", "http://", "", "ftp://host", "http://host:port", "http://a b", "h\n"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no address; give one such as http://localhost:9200"):
        SearchServer(url)


def test_a_server_is_asked_by_way_of_the_proxy_that_the_environment_names(
    wiki: SearchServerDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", wiki.url)
    monkeypatch.setenv("no_proxy", "localhost")
    with pytest.raises(FileNotFoundError, match=r"no index 'wiki' at http://elastic.example"):
        ElasticsearchRetriever("wiki", "http://elastic.example:9200")
    assert wiki.requests == [("GET", "http://elastic.example:9200/wiki/_mapping")]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ElasticsearchRetriever("wiki", wiki.url)
    assert wiki.requests[-1] == ("GET", "/wiki/_mapping")


@pytest.mark.parametrize("asked", ["99999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 400])
def test_no_server_makes_us_wait_for_longer_than_five_minutes(
    wiki: SearchServerDouble, naps: list[float], asked: str
) -> None:
    wiki.failures.append((429, {"Retry-After": asked}, b""))
    assert ElasticsearchRetriever("wiki", wiki.url).retrieve(QUESTIONS[2:], top_k=1)[0]
    assert naps == [300.0]


def test_waiting_for_a_busy_server_is_said(
    wiki: SearchServerDouble, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(still_running, "_FIRST_AFTER_S", 0.05)
    wiki.failures.append((429, {"Retry-After": "1"}, b""))
    ElasticsearchRetriever("wiki", wiki.url)
    said = capsys.readouterr().err.splitlines()
    assert set(said) == {"the search server is busy; waiting before attempt 2 of 6"}


def test_a_connection_that_breaks_off_is_made_again(
    wiki: SearchServerDouble, naps: list[float]
) -> None:
    wiki.break_off_next = True
    assert ElasticsearchRetriever("wiki", wiki.url).retrieve(QUESTIONS[2:], top_k=1)[0]
    assert naps == [0.5]


def test_texts_and_questions_are_sent_in_one_form_of_unicode(double: SearchServerDouble) -> None:
    nfd = unicodedata.normalize("NFD", "Zürich")
    document = Document(id="z", title=nfd, text=f"A town named {nfd}")
    build_index([document], SearchServer(double.url), "wiki")
    assert double.indexes["wiki"]["z"] == {"title": "Zürich", "text": "A town named Zürich"}
    for form in ("Zürich", nfd):
        asked = [Question(id="q", question=form)]
        assert ElasticsearchRetriever("wiki", double.url).retrieve(asked, top_k=1)[0]


def test_exact_repetitions_count_once_and_other_documents_of_one_id_are_refused(
    double: SearchServerDouble,
) -> None:
    assert build_index(DOCUMENTS * 2, SearchServer(double.url), "wiki") == 3
    other = Document(id="rome", text="another")
    with pytest.raises(ValueError, match="document number 4 has the id 'rome' of another"):
        build_index([*DOCUMENTS, other], SearchServer(double.url), "wiki")


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs httpx and httpx_retries; install .*\[elastic"):
        ElasticsearchRetriever("wiki")


def test_answers_about_other_items_are_refused(wiki: SearchServerDouble) -> None:
    retriever = ElasticsearchRetriever("wiki", wiki.url)
    wiki.failures.append((200, {}, b'{"responses": []}'))
    with pytest.raises(ValueError, match=r"POST /_msearch as no .* \(0 of 1 answers\)"):
        retriever.retrieve(QUESTIONS[:1], top_k=1)


@pytest.mark.parametrize(
    ("status", "content", "problem"),
    [
        (200, b"<html>It works!</html>", "answered GET /wiki/_mapping as no search server does"),
        (200, b"[]", r"\(status 200, no JSON object\); is it Elasticsearch or OpenSearch"),
        (200, b"[" * 100_000, "status 200, no JSON object"),
        (
            200,
            b'{"status": "ok"}',
            r"GET /wiki/_mapping as no .* \(indexes.status: Input should be",
        ),
        (302, b"", "status 302, no JSON object"),
        (
            403,
            b'{"error": {"type": "cluster_block_exception", "reason": "read-only"}}',
            "read-only",
        ),
        (400, b'{"error": "bad"}', "refused GET /wiki/_mapping: bad"),
    ],
)
def test_a_server_of_another_kind_is_told(
    double: SearchServerDouble, status: int, content: bytes, problem: str
) -> None:
    double.failures.append((status, {}, content))
    with pytest.raises(ValueError, match=problem):
        ElasticsearchRetriever("wiki", double.url)
