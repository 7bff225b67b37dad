"""The service on a real socket: OpenAI's interface by real clients, refusals, limits."""

import json
import logging
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from prag_lightning import Answerer
from prag_lightning.serving.chat_question import MODELS
from prag_lightning.serving.server import listen
from prag_lightning.serving.settings import ServingSettings
from tests.serving.hostile import hostile_requests, status_and_text
from tests.serving.running import Running, question, running


@pytest.fixture(scope="module")
def client(served: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def expected(run: Path, questions: list[str]) -> dict[tuple[str, str], Any]:
    """What an `Answerer` says to the first questions, by method and question."""
    with Answerer.from_run(run) as answerer:
        return {
            (method, text): answerer.answer([text], method)[0]
            for method in MODELS
            for text in questions[:3]
        }


def test_openai_s_client_gets_the_answers_of_the_answerer_whole_and_in_pieces(
    client: openai.OpenAI, expected: dict[tuple[str, str], Any]
) -> None:
    assert [model.id for model in client.models.list()] == list(MODELS)
    assert client.models.retrieve("prag").object == "model"
    for (method, text), answer in expected.items():
        asked: Any = {"model": method, "messages": [{"role": "user", "content": text}]}
        whole = client.chat.completions.create(**asked, temperature=0, max_tokens=100, seed=1)
        said = whole.choices[0].message.content
        assert said == answer.text.strip()
        assert whole.usage is not None
        assert whole.usage.total_tokens > whole.usage.completion_tokens > 0
        behind = (whole.model_extra or {})["prag"]
        assert behind["prediction"] == answer.prediction
        weights = {e.document_id: e.weight for e in answer.adapters}
        assert {d["id"]: d["weight"] for d in behind["documents"] if d["weight"]} == weights
        in_prompt = [d["id"] for d in behind["documents"] if d["in_prompt"]]
        assert in_prompt == [e.document_id for e in answer.passages]
        stream = client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
        assert "".join(pieces) == said
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
        assert chunks[-2].model_extra == {"prag": behind}
        assert chunks[-1].usage == whole.usage


def test_an_answer_comes_in_several_pieces(
    client: openai.OpenAI, expected: dict[tuple[str, str], Any]
) -> None:
    (method, text), _ = max(expected.items(), key=lambda pair: len(pair[1].text))
    stream = client.chat.completions.create(
        model=method, messages=[{"role": "user", "content": text}], stream=True
    )
    assert len([c for c in stream if c.choices[0].delta.content]) > 1


def test_max_tokens_cuts_the_answer_and_says_so(
    served: Running, expected: dict[tuple[str, str], Any]
) -> None:
    (method, text), answer = max(expected.items(), key=lambda pair: len(pair[1].text))
    for field in ("max_tokens", "max_completion_tokens"):
        body = question(text, method, **{field: 1})
        cut = served.client.post("/v1/chat/completions", json=body).json()
        assert cut["choices"][0]["finish_reason"] == "length"
        said = cut["choices"][0]["message"]["content"]
        assert answer.text.strip().startswith(said)
        assert said != answer.text.strip()
        assert cut["usage"]["completion_tokens"] == 1


def test_langchain_s_client_gets_the_same_answer(
    served: Running, expected: dict[tuple[str, str], Any]
) -> None:
    langchain = pytest.importorskip("langchain_openai")
    model = langchain.ChatOpenAI(model="prag", base_url=f"{served.url}/v1", api_key="none")
    text, answer = next((t, a) for (m, t), a in expected.items() if m == "prag")
    messages = [("system", "Be brief."), ("human", text)]
    assert model.invoke(messages).content == answer.text.strip()
    assert "".join(piece.content for piece in model.stream(messages)) == answer.text.strip()


def test_what_is_not_read_is_said(served: Running) -> None:
    body = question("Who?")
    plain = served.client.post("/v1/chat/completions", json=body).json()
    body["messages"][:0] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
    ]
    noted = served.client.post("/v1/chat/completions", json=body).json()
    assert plain["prag"]["notes"] == []
    assert [note.split(" are ")[0] for note in noted["prag"]["notes"]] == [
        "system messages",
        "earlier messages",
    ]
    assert noted["choices"] == plain["choices"]


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("temperature", 0.7, "answers are the likeliest ones; leave it out, or give 0"),
        ("n", 2, "there is one likeliest answer"),
        ("stop", ["x"], "not supported; leave it out"),
        ("tools", [{}], "tools are not supported"),
        ("response_format", {"type": "json_object"}, "answers are plain text"),
        ("max_tokens", 0, "greater than or equal to 1"),
        ("tempreature", 1, "there is no field 'tempreature' here"),
    ],
)
def test_what_would_change_the_answer_is_refused_in_openai_s_form(
    client: openai.OpenAI, field: str, value: Any, says: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="prag", messages=[{"role": "user", "content": "Who?"}], extra_body={field: value}
        )
    assert says in refused.value.message
    assert refused.value.param == field
    assert refused.value.type == "invalid_request_error"


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4'; the methods are the models"):
        client.chat.completions.create(
            model="gpt-4", messages=[{"role": "user", "content": "Who?"}]
        )


def test_weights_of_a_request_decide_what_is_merged(
    served: Running, expected: dict[tuple[str, str], Any]
) -> None:
    text, answer = next((t, a) for (m, t), a in expected.items() if m == "prag")

    def ask(weights: dict[str, float]) -> Any:
        body = question(text, prag={"weights": weights})
        return served.client.post("/v1/chat/completions", json=body).json()

    own = {e.document_id: e.weight for e in answer.adapters}
    assert ask(own)["choices"][0]["message"]["content"] == answer.text.strip()
    first = next(iter(own))
    [document] = ask({first: 0.25})["prag"]["documents"]
    assert (document["id"], document["weight"]) == (first, 0.25)
    assert "there is no document 'nobody'" in ask({"nobody": 1})["error"]["message"]
    refused = served.client.post(
        "/v1/chat/completions", json=question(text, "rag", prag={"weights": own})
    )
    assert refused.status_code == 400
    assert "rag merges no adapters" in refused.json()["error"]["message"]


def test_requests_that_wait_together_are_answered_in_one_batch_with_the_same_answers(
    served: Running, expected: dict[tuple[str, str], Any]
) -> None:
    def ask(key: tuple[str, str]) -> str:
        body = question(key[1], key[0])
        answer = served.client.post("/v1/chat/completions", json=body).json()
        return str(answer["choices"][0]["message"]["content"])

    keys = list(expected) * 2
    with ThreadPoolExecutor(8) as threads:
        said = list(threads.map(ask, keys))
    assert said == [expected[key].text.strip() for key in keys]
    figures = served.client.get("/metrics").text
    assert figure(figures, "prag_batch_rows_count") > figure(
        figures, 'prag_batch_rows_bucket{le="1.0"}'
    )
    assert figure(figures, "prag_resident_adapters") > 0
    assert 'prag_answers_total{method="prag",outcome="whole"}' in figures
    assert figure(figures, "prag_questions_waiting") == 0


def figure(figures: str, name: str) -> float:
    """Return one of Prometheus' figures."""
    return float(re.findall(rf"^{re.escape(name)} (\S+)$", figures, re.MULTILINE)[0])


def test_a_hundred_hostile_requests_are_refused_in_one_line(served: Running) -> None:
    for request in hostile_requests(100):
        require_refusal(served, request)
    assert served.client.get("/health").status_code == 200


@pytest.mark.slow
def test_a_thousand_hostile_requests_are_refused_in_one_line(served: Running) -> None:
    for request in hostile_requests(1000, seed=1):
        require_refusal(served, request)
    assert served.client.get("/health").status_code == 200


def require_refusal(served: Running, request: Any) -> None:
    status, body = status_and_text(served.port, request)
    assert 400 <= status < 500, (status, body, request.wire[:300])
    assert "Traceback" not in body
    assert len(body.splitlines()) == 1
    if body.startswith("{"):
        error = json.loads(body)["error"]
        assert error["message"]
        assert len(error["message"].splitlines()) == 1
        assert len(error["message"]) < 400
        assert "pydantic" not in error["message"]


def test_the_end_of_a_response_does_not_wait_for_its_beginning_to_be_acknowledged(
    tmp_path: Path,
) -> None:
    with (
        listen(ServingSettings(tmp_path, port=0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_client_that_goes_away_frees_its_place(served: Running) -> None:
    body = question("Where was Ada born?", stream=True)
    with served.client.stream("POST", "/v1/chat/completions", json=body) as response:
        next(response.iter_lines())
    given_up = 0
    for _ in range(5):
        with httpx.Client(base_url=served.url) as client:
            try:
                client.post("/v1/chat/completions", json=question("Who? " * 700), timeout=0.001)
            except httpx.TimeoutException:
                given_up += 1
    assert given_up
    for _ in range(200):
        if figure(served.client.get("/metrics").text, "prag_questions_waiting") == 0:
            return
        time.sleep(0.02)
    raise AssertionError("a row that nobody waits for is still there")


def test_the_token_is_asked_for_and_never_logged(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(run, token="sesame-123", max_waiting=1, requests_per_second=2) as guarded:
        for header in (None, "Bearer", "Bearer wrong", "Basic sesame-123", "Bearer sesame-1234"):
            headers = {} if header is None else {"Authorization": header}
            refused = httpx.get(f"{guarded.url}/v1/models", headers=headers)
            while refused.status_code == 429:
                assert int(refused.headers["Retry-After"]) >= 1
                time.sleep(0.3)
                refused = httpx.get(f"{guarded.url}/v1/models", headers=headers)
            assert refused.status_code == 401
            assert refused.headers["WWW-Authenticate"] == "Bearer"
        time.sleep(1)
        assert guarded.client.get("/v1/models").status_code == 200
        time.sleep(1)
        for open_path in ("/", "/health"):
            assert httpx.get(f"{guarded.url}{open_path}").status_code == 200
    assert any(record.message == "request" for record in caplog.records)
    assert not [r for r in caplog.records if "sesame" in str(vars(r))]


def test_openapi_describes_every_route(served: Running) -> None:
    schema = served.client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/models",
        "/v1/models/{name}",
        "/v1/chat/completions",
        "/v1/documents",
        "/v1/documents/{document_id}",
        "/health",
        "/metrics",
    }
    assert "prag" in schema["components"]["schemas"]["ChatCompletion"]["properties"]


def test_more_questions_than_may_wait_are_refused_with_a_time_to_come_back(
    run: Path, served: Running
) -> None:
    service = served.service
    filled = service._num_waiting
    service._num_waiting = service.settings.max_waiting
    try:
        for stream in (False, True):
            body = question("Who?", stream=stream)
            refused = served.client.post("/v1/chat/completions", json=body)
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "queue_full"
            assert int(refused.headers["Retry-After"]) >= 1
    finally:
        service._num_waiting = filled
