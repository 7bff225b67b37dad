"""Augmentation over HTTP, by a server that misbehaves."""

import time
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import pytest

from prag_lightning.augmentation import endpoint as endpoint_module
from prag_lightning.augmentation.draft import Failure, Outcome, Usage
from prag_lightning.augmentation.endpoint import Endpoint, find_model
from prag_lightning.augmentation.endpoint_generator import EndpointGenerator
from prag_lightning.augmentation.prompts import question_prompt
from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.documents.records import Augmentation, Document
from tests.augmentation.chat_server_double import (
    Behaviour,
    ChatServerDouble,
    Handler,
    good_answer,
    hang_up,
    keep_silent,
    obey,
    say,
    send,
    send_half,
    send_no_json,
)

_PAIRS = good_answer({"messages": [{"content": "Passage:\nParis is nice."}], "seed": 0})
_NO_CHOICE: Behaviour = send({"choices": []})


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def _endpoint(server: ChatServerDouble, max_tries: int = 3) -> Endpoint:
    return Endpoint(server.url, timeout_s=0.3, max_tries=max_tries, backoff_s=0.01)


def _augment(
    server: ChatServerDouble,
    documents: Sequence[Document],
    order: Order = Order(),  # noqa: B008 - frozen
    concurrency: int = 1,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
) -> tuple[dict[str, Augmentation | Failure], Usage]:
    outcomes: list[Outcome] = []
    generator = EndpointGenerator(_endpoint(server), "tiny", order, sampling, concurrency)
    usage = generator.augment(documents, outcomes.append)
    assert len(outcomes) == len(documents)
    return {outcome.result.document_id: outcome.result for outcome in outcomes}, usage


def test_the_server_gets_the_published_prompt_and_settings(
    server: ChatServerDouble, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    results, _ = _augment(server, documents[:1])
    body = server.bodies[0]
    seed = body.pop("seed")
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": question_prompt(documents[0].text, 3)}],
        "temperature": 0.7,
        "top_k": 50,
        "max_tokens": 512,
    }
    assert server.keys == ["Bearer sk-secret"] * 2
    result = results["d0"]
    assert isinstance(result, Augmentation)
    assert result.qas[0].question == f"What is word 0 with seed {seed}?"
    assert result.rewrites == [f"Seed {server.bodies[1]['seed']} rewrote: {documents[0].text}"]


def test_top_k_0_is_not_sent_for_servers_that_do_not_know_it(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    _augment(server, documents[:1], sampling=Sampling(top_k=0))
    assert all("top_k" not in body for body in server.bodies)


@pytest.mark.parametrize(
    "stumble",
    [
        send({"error": "oops"}, status=500),
        send({"error": "slow down"}, status=429, Retry_After="0"),
        send({"error": "slow down"}, status=429, Retry_After="soon"),
        send({"error": "loading"}, status=503),
        keep_silent(0.4),
        hang_up,
        send_half,
        send_no_json,
    ],
    ids=["500", "429", "429 unreadable", "503", "timeout", "closed", "half", "no JSON"],
)
def test_a_server_that_stumbles_gives_the_same_augmentations_in_the_end(
    stumble: Behaviour, server: ChatServerDouble, documents: list[Document]
) -> None:
    expected, _ = _augment(server, documents[:1])
    server.script.extend([stumble, stumble, obey, stumble])
    results, usage = _augment(server, documents[:1])
    assert results == expected
    assert usage.num_requests == 2
    assert len(server.bodies) == 2 + 2 + 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(
    form: str, server: ChatServerDouble, documents: list[Document]
) -> None:
    later = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    server.script.append(send({}, status=429, Retry_After=later))
    _augment(server, documents[:1])
    assert 0.9 < server.times[1] - server.times[0] < 3
    assert server.times[2] - server.times[1] < 0.5


@pytest.mark.parametrize(
    ("answer", "num_requests"),
    [
        (say(f"Sure!\n```json\n{_PAIRS}\n```\nAnything else?"), 2),
        (say(_PAIRS[:-20], "length"), 3),
        (say(_PAIRS.replace("full_answer", "whole_answer", 1)), 3),
        (say("[]"), 3),
        (say("I'm sorry, I can't."), 3),
        (say(None), 3),
        (_NO_CHOICE, 3),
    ],
    ids=[
        "prose around it",
        "truncated",
        "a key missing",
        "empty list",
        "refusal",
        "nothing",
        "no choice",
    ],
)
def test_an_answer_of_no_use_is_asked_for_again_with_another_seed(
    answer: Behaviour, num_requests: int, server: ChatServerDouble, documents: list[Document]
) -> None:
    server.script.append(answer)
    results, usage = _augment(server, documents[:1])
    assert isinstance(results["d0"], Augmentation)
    assert usage.num_requests == num_requests
    assert len(set(server.seeds())) == num_requests - 1


def test_a_model_that_never_gives_pairs_fails_the_document_after_max_attempts(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    server.otherwise = say("Paris is nice.", "length")
    results, usage = _augment(server, documents[:2], Order(max_attempts=4))
    assert results["d1"] == Failure(
        document_id="d1",
        reason="question-answer pairs: no JSON object in the answer (cut after 10 tokens)",
        num_attempts=4,
        answer="Paris is nice.",
    )
    assert usage == Usage(8, 800, 80)
    assert len(set(server.seeds())) == 8


def test_augmentations_do_not_depend_on_concurrency_which_is_bounded(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    def slowly(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(0.02)
        obey(handler, body)

    server.otherwise = slowly
    alone, _ = _augment(server, documents, concurrency=1)
    assert server.most_open == 1
    together, _ = _augment(server, documents, concurrency=3)
    assert together == alone
    assert server.most_open == 3


def test_a_document_that_the_server_refuses_fails_alone_and_no_key_is_told(
    server: ChatServerDouble, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.script.append(send({"error": "sk-secret: context is 512 tokens"}, status=400))
    results, usage = _augment(server, documents)
    failure = results["d0"]
    assert isinstance(failure, Failure)
    assert failure.reason == (
        f"question-answer pairs: status 400 from {server.url}: "
        '{"error": "***: context is 512 tokens"}'
    )
    assert sum(isinstance(result, Augmentation) for result in results.values()) == 4
    assert usage.num_requests == 1 + 4 * 2


def test_a_document_on_which_the_server_fails_for_good_fails_alone(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    server.script.extend([send({}, status=500)] * 3)
    results, _ = _augment(server, documents)
    failure = results["d0"]
    assert isinstance(failure, Failure)
    assert failure.reason.endswith("status 500 from " + server.url + ": {}, 3 times")
    assert sum(isinstance(result, Augmentation) for result in results.values()) == 4


def test_a_server_that_goes_away_ends_the_run_and_what_is_done_was_delivered(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    def leave(handler: Handler, body: dict[str, Any]) -> None:
        server.on_models = send({}, status=503)
        server.otherwise = send({}, status=503)
        obey(handler, body)

    server.script.extend([obey, obey, obey, leave])
    outcomes: list[Outcome] = []
    generator = EndpointGenerator(_endpoint(server), "tiny", Order(), Sampling(), 1)
    with pytest.raises(ConnectionError, match=r"no language model answers at .* \(status 503\)"):
        generator.augment(documents, outcomes.append)
    assert [outcome.result.document_id for outcome in outcomes] == ["d0", "d1"]


def test_an_interruption_passes_through(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    def interrupt(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    generator = EndpointGenerator(_endpoint(server), "tiny", Order(), Sampling(), 2)
    with pytest.raises(KeyboardInterrupt):
        generator.augment(documents, interrupt)


def test_a_missing_server_is_said_at_once_with_what_starts_one() -> None:
    start = time.monotonic()
    message = (
        r"no language model answers at http://127.0.0.1:1/v1 \(All connection attempts failed\); "
        "start one, as with `vllm serve MODEL --port 8000`"
    )
    with pytest.raises(ConnectionError, match=message) as error:
        find_model(Endpoint("http://ada:secret@127.0.0.1:1/v1"), "m")
    assert time.monotonic() - start < 5
    assert "secret" not in str(error.value)


def test_a_silent_server_is_not_waited_for(
    server: ChatServerDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert endpoint_module._CHECK_TIMEOUT_S <= 5
    monkeypatch.setattr(endpoint_module, "_CHECK_TIMEOUT_S", 0.1)
    server.on_models = keep_silent(0.5)
    with pytest.raises(ConnectionError, match="no answer in time"):
        find_model(Endpoint(server.url), "m")


def test_a_refused_key_is_said_with_the_variable_and_without_the_key(
    server: ChatServerDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    server.on_models = send({"error": "sk-secret is wrong"}, status=401)
    with pytest.raises(ValueError, match=r"refused the API key \(status 401\).* MY_KEY") as error:
        find_model(Endpoint(server.url, api_key_env="MY_KEY"), "m")
    assert "sk-secret" not in str(error.value)


def test_a_key_that_expires_ends_the_run(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    server.otherwise = send({}, status=401)
    with pytest.raises(ValueError, match="refused the API key"):
        _augment(server, documents)


def test_the_only_model_of_a_server_needs_no_name(server: ChatServerDouble) -> None:
    assert find_model(Endpoint(server.url), None) == "tiny"
    assert find_model(Endpoint(server.url), "tiny") == "tiny"


def test_a_model_that_the_server_does_not_have_is_refused(server: ChatServerDouble) -> None:
    server.on_models = send({"data": [{"id": "one"}, {"id": "two"}]})
    with pytest.raises(ValueError, match="has no model 'three'; its models: one, two"):
        find_model(Endpoint(server.url), "three")
    with pytest.raises(ValueError, match=r"name one of its models \(one, two\) with --model"):
        find_model(Endpoint(server.url), None)


def test_a_server_that_does_not_list_its_models_is_taken_at_its_word(
    server: ChatServerDouble,
) -> None:
    server.on_models = send({"detail": "not found"}, status=404)
    assert find_model(Endpoint(server.url), "any") == "any"


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://a:b:c"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Endpoint(url)


def test_no_concurrency_at_all_is_refused(server: ChatServerDouble) -> None:
    with pytest.raises(ValueError, match="concurrency 0: give at least 1"):
        EndpointGenerator(_endpoint(server), "tiny", Order(), Sampling(), 0)
