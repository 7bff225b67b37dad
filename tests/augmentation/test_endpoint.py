"""Augmentation over HTTP, by a server that misbehaves."""

import asyncio
import signal
import time
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import pytest

from prag_lightning.augmentation import endpoint as endpoint_module
from prag_lightning.augmentation.endpoint import Endpoint, find_model
from prag_lightning.augmentation.endpoint_augmenter import EndpointAugmenter
from prag_lightning.augmentation.outcomes import Outcome, Usage
from prag_lightning.augmentation.prompts import question_prompt
from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.augmentation.wording import LIST
from prag_lightning.documents.records import Document
from tests.augmentation.chat_server_double import (
    Behaviour,
    ChatServerDouble,
    Handler,
    good_answer,
    hang_up,
    keep_silent,
    letters,
    obey,
    say,
    send,
    send_half,
    send_no_json,
)
from tests.augmentation.recorder import Recorder

# What the server says about the first document, whatever the seed.
_PAIRS = good_answer(
    {
        "messages": [{"content": "Passage:\nAda 0 was born in London. She lived to be 30."}],
        "seed": 0,
    }
)
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
    **template: bool,
) -> tuple[Recorder, Usage]:
    recorder = Recorder()
    augmenter = EndpointAugmenter(_endpoint(server), "tiny", order, sampling, concurrency, template)
    usage = augmenter.run(documents, recorder)
    assert len(recorder.outcomes) == len(documents)
    assert recorder.num_expected == recorder.num_heard == usage.num_requests
    return recorder, usage


def test_the_server_gets_the_published_prompt_and_settings(
    server: ChatServerDouble, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    recorder, _ = _augment(server, documents[:1])
    body = server.bodies[0]
    seed = body.pop("seed")
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": question_prompt(documents[0].text, 3)}],
        "temperature": 0.7,
        "top_k": 50,
        "top_p": 1.0,
        "max_tokens": 512,
        # Else the model's own generation config would say.
        "repetition_penalty": 1.0,
        "min_p": 0.0,
    }
    assert server.keys == ["Bearer sk-secret"] * 2
    made = recorder.augmentation("d0")
    assert made.qas[0].question == f"Which word of Ada is first for {letters(seed)}?"
    assert made.rewrites == [f"By {letters(server.bodies[1]['seed'])}: {documents[0].text}"]


def test_with_top_k_0_only_openais_own_fields_are_sent(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    _augment(server, documents[:1], sampling=Sampling(top_k=0))
    fields = {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
    assert all(body.keys() == fields for body in server.bodies)


def test_the_chat_template_is_told_what_was_given(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    _augment(server, documents[:1], enable_thinking=False)
    assert all(body["chat_template_kwargs"] == {"enable_thinking": False} for body in server.bodies)


def test_a_single_pair_is_asked_for_behind_examples_and_in_few_words(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    server.otherwise = say("Q: Where was Ada born?\nA: London")
    order = Order(num_rewrites=0, num_qas=1, pairs="one_by_one")
    recorder, _ = _augment(server, documents[:1], order)
    body = server.bodies[0]
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant"] * 3 + ["user"]
    assert body["max_tokens"] == 128
    (pair,) = recorder.augmentation("d0").qas
    assert (pair.answer, pair.full_answer) == ("London", "Ada 0 was born in London.")


@pytest.mark.parametrize(
    "stumble",
    [
        send({"error": "oops"}, status=500),
        send({"error": "slow down"}, status=429, Retry_After="0"),
        send({"error": "slow down"}, status=429, Retry_After="soon"),
        send({"error": "slow down"}, status=429, Retry_After="-5"),
        send({"error": "loading"}, status=503),
        keep_silent(0.4),
        hang_up,
        send_half,
        send_no_json,
    ],
    ids=[
        "500",
        "429",
        "429 unreadable",
        "429 negative",
        "503",
        "timeout",
        "closed",
        "half",
        "no JSON",
    ],
)
def test_a_server_that_stumbles_gives_the_same_augmentations_in_the_end(
    stumble: Behaviour, server: ChatServerDouble, documents: list[Document]
) -> None:
    expected, _ = _augment(server, documents[:1])
    server.script.extend([stumble, stumble, obey, stumble])
    recorder, usage = _augment(server, documents[:1])
    assert recorder.outcomes == expected.outcomes
    assert usage.num_requests == 2
    assert len(server.bodies) == 2 + 2 + 3


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(
    form: str, server: ChatServerDouble, documents: list[Document]
) -> None:
    def refuse(handler: Handler, body: dict[str, Any]) -> None:
        # A date has no fractions of seconds.
        later = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
        send({}, status=429, Retry_After=later)(handler, body)

    server.script.append(refuse)
    _augment(server, documents[:1])
    assert 0.9 < server.times[1] - server.times[0] < 5
    assert server.times[2] - server.times[1] < 0.9


@pytest.mark.parametrize(
    "later",
    ["99999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "Sun, 01 Jan 9999 00:00:00 -2300"],
)
def test_no_server_makes_us_wait_for_ever(
    later: str,
    server: ChatServerDouble,
    documents: list[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert endpoint_module._LONGEST_WAIT_S == 300
    monkeypatch.setattr(endpoint_module, "_LONGEST_WAIT_S", 0.2)
    server.script.append(send({}, status=429, Retry_After=later))
    start = time.monotonic()
    recorder, _ = _augment(server, documents[:1])
    assert 0.15 < time.monotonic() - start < 5
    assert recorder.outcomes["d0"].failure is None


@pytest.mark.parametrize(
    ("answer", "num_requests"),
    [
        (say(f"Sure!\n```json\n{_PAIRS}\n```\nAnything else?"), 2),
        (say(_PAIRS.replace("full_answer", "whole_answer", 1)), 2),
        (say(_PAIRS[:-20], "length"), 3),
        (say(_PAIRS.replace("answer", "reply", 1)), 3),
        (say(_PAIRS.replace("Ada", "Grace")), 3),
        (say("[]"), 3),
        (say("I'm sorry, I can't."), 3),
        (say("<think>Let me see"), 3),
        (say(None), 3),
        (_NO_CHOICE, 3),
    ],
    ids=[
        "prose around it",
        "no sentence",
        "truncated",
        "a key missing",
        "about another",
        "empty list",
        "refusal",
        "only a thought",
        "nothing",
        "no choice",
    ],
)
def test_an_answer_of_no_use_is_asked_for_again_with_another_seed(
    answer: Behaviour, num_requests: int, server: ChatServerDouble, documents: list[Document]
) -> None:
    server.script.append(answer)
    recorder, usage = _augment(server, documents[:1])
    assert recorder.outcomes["d0"].failure is None
    assert len(recorder.augmentation("d0").qas) == 3
    assert usage.num_requests == num_requests
    assert usage.num_refused == num_requests - 2
    assert len(set(server.seeds())) == num_requests - 1


def test_a_model_that_never_gives_pairs_fails_the_document_after_max_attempts(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    server.otherwise = say("Paris is nice.", "length")
    recorder, usage = _augment(server, documents[:2], Order(num_rewrites=0, max_attempts=4))
    failure = recorder.failure("d1")
    assert recorder.outcomes["d1"].augmentation is None
    problem = "neither JSON nor lines of Q: and A: with a pair (cut after 10 tokens)"
    assert failure.reason == f"0 of 3 {LIST}; pair 1: {problem}"
    assert (failure.num_attempts, failure.answer) == (4, "Paris is nice.")
    # A list twice, then each of three pairs four times.
    assert usage == Usage(28, 2800, 280, num_refused=28)
    assert len({body["seed"] for body in server.bodies}) == 28


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
    assert together.outcomes == alone.outcomes
    assert server.most_open == 3


def test_a_document_that_the_server_refuses_fails_alone_and_no_key_is_told(
    server: ChatServerDouble, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    refuse = send({"error": "sk-secret: context is 512 tokens"}, status=400)
    # The list, the three single pairs and the rewrite.
    server.script.extend([refuse] * 5)
    recorder, usage = _augment(server, documents)
    assert recorder.failure("d0").reason == (
        f"0 of 3 {LIST}; pair 1: status 400 from {server.url}: "
        '{"error": "***: context is 512 tokens"}'
    )
    assert [name for name, done in recorder.outcomes.items() if done.failure] == ["d0"]
    assert usage.num_requests == 5 + 4 * 2


def test_a_document_on_which_the_server_fails_for_good_fails_alone(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    server.script.extend([send({}, status=500)] * 5 * 3)
    recorder, _ = _augment(server, documents)
    failure = recorder.failure("d0")
    assert failure.reason.endswith(f"status 500 from {server.url}: {{}}, 3 times")
    assert [name for name, done in recorder.outcomes.items() if done.failure] == ["d0"]


def test_a_server_that_goes_away_ends_the_run_and_what_is_done_was_delivered(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    def leave(handler: Handler, body: dict[str, Any]) -> None:
        server.on_models = send({}, status=503)
        server.otherwise = send({}, status=503)
        obey(handler, body)

    server.script.extend([obey, obey, obey, leave])
    recorder = Recorder()
    augmenter = EndpointAugmenter(_endpoint(server), "tiny", concurrency=1)
    with pytest.raises(ConnectionError, match=r"no language model answers at .* \(status 503\)"):
        augmenter.run(documents, recorder)
    assert [*recorder.outcomes] == ["d0", "d1"]


def test_an_interruption_passes_through(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    class Interrupting(Recorder):
        def deliver(self, outcome: Outcome) -> None:
            signal.raise_signal(signal.SIGINT)

    augmenter = EndpointAugmenter(_endpoint(server), "tiny", concurrency=2)
    # A process that a script has put into the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        augmenter.run(documents, Interrupting())


def test_a_notebooks_event_loop_is_no_obstacle(
    server: ChatServerDouble, documents: list[Document]
) -> None:
    async def cell() -> Usage:
        return EndpointAugmenter(_endpoint(server)).run(documents[:1], Recorder())

    assert asyncio.run(cell()).num_requests == 2


def test_a_proxy_of_the_environment_is_used_unless_the_host_is_excepted(
    server: ChatServerDouble, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # The server stands for the proxy: it takes whole addresses as well.
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    assert find_model(Endpoint("http://nowhere.example/v1"), None) == "tiny"
    monkeypatch.setenv("no_proxy", "nowhere.example")
    with pytest.raises(ConnectionError, match="no language model answers at http://nowhere"):
        find_model(Endpoint("http://nowhere.example/v1"), None)


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
        EndpointAugmenter(_endpoint(server), concurrency=0)
