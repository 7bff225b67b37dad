"""Requests to an `Answerer` from threads and tasks: batches, streams, weights, and the end."""

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from prag_lightning import Answerer, Document, DocumentDataModule, LoraConfig, ParametricRAG
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.answering import generate
from prag_lightning.answering.answers import Answer
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.memory import BatchRoom
from prag_lightning.answering.requests import AnswerMethod, AnswerRequest, WaitingRow
from prag_lightning.answering.resident import ResidentAdapters
from prag_lightning.documents.digests import text_digest
from tests.conftest import tiny_base, tiny_tokenizer

NAMES = ["Ada", "Bo", "Cy", "Di", "Ed", "Flo"]
QUESTIONS = [f"Where was {name} born?" for name in NAMES]
METHODS: list[AnswerMethod] = ["closed_book", "rag", "prag", "combine"]
ASKED = [(question, method) for question in QUESTIONS for method in METHODS]
NUM_TOKENS = 12


class World:
    """A tiny model, documents, and a store of adapters that were drawn and not trained."""

    def __init__(self, base_dir: Path, root: Path, template: str = "direct") -> None:
        self.base_dir = base_dir
        self.template = template
        self.documents = [Document(id=n, text=f"{n} was born in Paris.") for n in NAMES]
        self.store = root / "store"
        module, data = self.module(), self.data()
        module.configure_model()
        draw = torch.Generator().manual_seed(0)
        rows = torch.randn(len(NAMES) - 1, module.bank.layout.num_params, generator=draw)
        with open_store(self.store, module.recipe(data.encoder, {}), mode="write") as store:
            # The last one has no adapter.
            store.put_many(NAMES[:-1], rows * 0.1, [text_digest(d) for d in self.documents[:-1]])

    def module(self, num_tokens: int = NUM_TOKENS) -> ParametricRAG:
        return ParametricRAG(
            str(self.base_dir), LoraConfig(rank=2, alpha=32), max_new_tokens=num_tokens
        )

    def data(self, **settings: Any) -> DocumentDataModule:
        return DocumentDataModule(
            self.documents,
            base=str(self.base_dir),
            template=self.template,
            top_k=2,
            **settings,
        )

    def answerer(self, num_tokens: int = NUM_TOKENS, **settings: Any) -> Answerer:
        return Answerer(self.module(num_tokens), self.store, self.data(**settings), device="cpu")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("requests")
    base, tokenizer = tiny_base(), tiny_tokenizer()
    with torch.no_grad():
        # So that answers depend on all of the prompt.
        for parameter in base.parameters():
            parameter.mul_(5 if parameter.dim() > 1 else 1)
        # The special tokens, of which two end an answer.
        base.get_output_embeddings().weight[:4] = 0
    base.save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")
    return World(root / "base", root)


@pytest.fixture(scope="module")
def answerer(world: World) -> Iterator[Answerer]:
    with world.answerer() as answerer:
        yield answerer


@pytest.fixture(scope="module")
def alone(answerer: Answerer) -> dict[tuple[str, str], Answer]:
    """Each question's answer by each method, asked one by one."""
    return {(text, how): answerer.answer([text], how)[0] for text, how in ASKED}


@contextmanager
def all_wait(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[QuestionBatch]]:
    """Let all that is asked in the block wait for its end; yields the batches that answer it."""
    batches: list[QuestionBatch] = []
    goes_on, is_held = threading.Event(), threading.Event()
    answer = answerer.module.answer

    def hold(batch: QuestionBatch, *how: Any) -> Any:
        if is_held.is_set():
            batches.append(batch)
        is_held.set()
        goes_on.wait()
        return answer(batch, *how)

    monkeypatch.setattr(answerer.module, "answer", hold)
    first = answerer.stream("Who?", "closed_book")
    is_held.wait()
    yield batches
    goes_on.set()
    list(first)


def test_the_answers_differ_between_questions_and_methods(
    alone: dict[tuple[str, str], Answer],
) -> None:
    assert len({answer.text for answer in alone.values()}) > len(ASKED) / 2


def test_what_waits_together_is_answered_in_two_batches_whatever_the_methods(
    answerer: Answerer,
    alone: dict[tuple[str, str], Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with all_wait(answerer, monkeypatch) as batches:
        streams = [answerer.stream(text, how) for text, how in ASKED]
    num_pieces = 0
    for stream, asked in zip(streams, ASKED, strict=True):
        *pieces, answer = list(stream)
        assert answer == alone[asked]
        assert "".join(map(str, pieces)) == alone[asked].text
        num_pieces += len(pieces)
    assert num_pieces > 2 * len(ASKED)
    # With passages in the prompt, and without.
    assert sorted(len(batch.questions) for batch in batches) == [12, 12]


def test_threads_that_ask_while_others_refresh_and_close_get_their_own_answers_or_one_error(
    world: World, alone: dict[tuple[str, str], Answer]
) -> None:
    answerer = world.answerer()
    started = threading.Barrier(9)
    num_answered = threading.Semaphore(0)

    def ask(number: int) -> list[str]:
        started.wait()
        wrong: list[str] = []
        for text, how in (ASKED[number:] + ASKED[:number]) * 100:
            try:
                if number % 2:
                    *_, answer = answerer.stream(text, how)
                else:
                    [answer] = answerer.answer([text], how)
            except ValueError as error:
                return [*wrong, str(error)]
            if answer != alone[text, how]:
                wrong.append(f"{text} {how}: {answer}")
            num_answered.release()
        return wrong

    with ThreadPoolExecutor(8) as threads:
        found = [threads.submit(ask, number) for number in range(8)]
        started.wait()
        for _ in range(3):
            stores = [answerer.store]
            answerer.refresh()
            for _ in range(10):
                num_answered.acquire()
        answerer.close()
        assert {tuple(one.result()) for one in found} == {
            ("this Answerer is closed; open another one",)
        }
    answerer.close()
    for store in (*stores, answerer.store):
        with pytest.raises(ValueError, match="this store is closed"):
            store.text_digest("Ada")


def test_a_closed_answerer_answers_what_was_asked_and_refuses_everything_else(
    world: World, alone: dict[tuple[str, str], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    answerer = world.answerer()
    with answerer, ThreadPoolExecutor() as threads:
        with all_wait(answerer, monkeypatch):
            streams = [answerer.stream(question) for question in QUESTIONS]
            closing = threads.submit(answerer.close)
            while not answerer._thread.is_closed:
                time.sleep(0.001)
            assert not closing.done()
        closing.result()
    assert [list(stream)[-1] for stream in streams] == [alone[text, "prag"] for text in QUESTIONS]
    for refused in (
        lambda: answerer.answer(["Who?"]),
        lambda: answerer.stream("Who?"),
        lambda: asyncio.run(answerer.aanswer(["Who?"])),
        lambda: answerer.retrieve(["Who?"]),
        answerer.refresh,
    ):
        with pytest.raises(ValueError, match="this Answerer is closed; open another one"):
            refused()


def test_the_thread_of_an_answerer_that_nobody_has_any_more_ends(world: World) -> None:
    answerer = world.answerer()
    answerer.answer(["Who?"], "closed_book")
    thread = answerer._thread._thread
    assert thread.is_alive()
    del answerer
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_list_of_many_questions_does_not_keep_others_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.answerer(question_batch_size=4) as answerer, ThreadPoolExecutor() as threads:
        with all_wait(answerer, monkeypatch) as batches:
            many = [answerer._submit(QUESTIONS * 2, "prag", None) for _ in range(2)]
            single = answerer.stream("Where was the last one born?", "prag")
            late = threads.submit(answerer.answer, ["Where was Bo born, too?"], "rag")
            while len(answerer._thread._arrived) < 4:
                time.sleep(0.001)
        assert [len(one.result()) for one in many] == [12, 12]
        assert isinstance(list(single)[-1], Answer)
        assert late.result()
    asked = [[question.question for question in batch.questions] for batch in batches]
    assert max(map(len, asked)) == 4
    assert "Where was the last one born?" in asked[0]
    assert "Where was Bo born, too?" in asked[1]


def test_batches_are_as_large_as_the_memory_allows_and_never_empty(
    world: World, alone: dict[tuple[str, str], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.answerer() as answerer:
        whole = answerer._work.measure_room()
        assert whole.token_bytes > 2 * 2 * 16 * 4
        rows = 3 * (60 * whole.token_bytes + 4 * whole.adapter_bytes)
        vars(answerer._work)["_room"] = whole._replace(num_bytes=rows)
        with all_wait(answerer, monkeypatch) as batches:
            request = answerer._submit(QUESTIONS, "prag", None)
        assert [a.text for a in request.result()] == [alone[q, "prag"].text for q in QUESTIONS]
        sizes = [len(batch.questions) for batch in batches]
        assert sum(sizes) == len(QUESTIONS)
        assert 1 < max(sizes) < len(QUESTIONS)
        vars(answerer._work)["_room"] = BatchRoom(0, 32, 1, 1, 1)
        assert answerer.answer(QUESTIONS) == request.result()


def count_steps(module: ParametricRAG) -> list[int]:
    """Note the rows of each token that is generated."""
    steps: list[int] = []

    def note(_: Any, args: Any, inputs: dict[str, Any]) -> None:
        if inputs["input_ids"].shape[1] == 1:
            steps.append(len(inputs["input_ids"]))

    assert module.base is not None
    module.base.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    return steps


@pytest.mark.parametrize("way", ["close", "forget", "cancel"])
def test_a_stream_that_is_given_up_ends_its_generation(world: World, way: str) -> None:
    with world.answerer(num_tokens=60) as answerer:
        steps = count_steps(answerer.module)
        text = answerer.answer([QUESTIONS[0]], "prag")[0].text
        # The model of random weights goes on to the end.
        assert len(steps) == 60
        steps.clear()
        if way == "cancel":

            async def give_up() -> None:
                stream = answerer.astream(QUESTIONS[0])
                assert text.startswith(str(await anext(stream)))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(collect(stream), 0.01)

            asyncio.run(give_up())
        else:
            stream = answerer.stream(QUESTIONS[0])
            assert text.startswith(str(next(stream)))
            if way == "close":
                stream.close()
                assert [item for item in stream if isinstance(item, Answer)] == []
            del stream
        # The next answer does not wait for the rest.
        answerer.answer(["Who?"], "closed_book")
    assert len(steps) < 120


async def collect(stream: Any) -> list[Any]:
    return [item async for item in stream]


def test_a_row_that_is_given_up_changes_no_other_and_the_batch_ends_with_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.answerer(num_tokens=50) as answerer:
        steps = count_steps(answerer.module)
        expected = answerer.answer(QUESTIONS[1:2])
        with all_wait(answerer, monkeypatch) as batches:
            given_up, other = (answerer.stream(question) for question in QUESTIONS[:2])
            steps.clear()
        next(given_up)
        given_up.close()
        assert list(other)[-1] == expected[0]
        assert [len(batch.questions) for batch in batches] == [2]


def test_an_answer_that_has_ended_does_not_wait_for_the_longer_ones_of_its_batch(
    answerer: Answerer, alone: dict[tuple[str, str], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [(text, how) for text, how in ASKED if how in ("closed_book", "prag")]
    # The fourth token of one answer ends all that have it.
    ends = answerer.module.tokenizer(alone[asked[0]].text, add_special_tokens=False).input_ids[3:4]
    monkeypatch.setattr(generate, "end_token_ids", lambda *_: ends)
    expected = [answerer.answer([text], how)[0] for text, how in asked]
    answer, ended = answerer.module.answer, list[bool]()

    def note_ended(batch: QuestionBatch, *how: Any) -> Any:
        said = answer(batch, *how)
        if len(batch.questions) > 1:
            ended.extend(row.request.is_done for row in answerer._thread._rows)
        return said

    monkeypatch.setattr(answerer.module, "answer", note_ended)
    with all_wait(answerer, monkeypatch):
        streams = [answerer.stream(text, how) for text, how in asked]
    assert [list(stream)[-1] for stream in streams] == expected
    # Others reach the longest length.
    assert 0 < sum(ended) < len(ended) == len(asked)


def test_a_caller_that_asks_again_before_its_batch_has_ended_is_expected_once(
    answerer: Answerer, alone: dict[tuple[str, str], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = answerer.module.tokenizer(alone[ASKED[0]].text, add_special_tokens=False).input_ids[3:4]
    monkeypatch.setattr(generate, "end_token_ids", lambda *_: ends)
    expected: list[int] = []
    wait = answerer._thread._wait

    def note_expected(is_busy: bool, num_expected: int, until: float) -> bool:
        expected.append(num_expected)
        return wait(is_busy, num_expected, until)

    monkeypatch.setattr(answerer._thread, "_wait", note_expected)
    # After that, nobody is expected of those that asked before.
    answerer.answer(QUESTIONS[:1])
    expected.clear()
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(lambda text: answerer.answer([text], "prag"), QUESTIONS * 4))
    # Otherwise every batch would be waited for in vain.
    assert 1 < max(expected) <= 4


def test_a_request_that_is_cancelled_while_its_row_is_taken_stops_no_other(
    answerer: Answerer, alone: dict[tuple[str, str], Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    next_row, cancelled = AnswerRequest.next_row, list[bool]()

    def cancelled_at_once(request: AnswerRequest) -> WaitingRow | None:
        row = next_row(request)
        if not cancelled:
            cancelled.append(request.future.cancel())
        return row

    monkeypatch.setattr(AnswerRequest, "next_row", cancelled_at_once)
    text, method = ASKED[0]
    with pytest.raises(CancelledError):
        answerer.answer([text], method)
    assert cancelled == [True]
    assert answerer.answer([text], method)[0].text == alone[text, method].text


def test_tasks_get_the_answers_that_threads_get(
    answerer: Answerer, alone: dict[tuple[str, str], Answer]
) -> None:
    async def ask() -> tuple[list[list[Answer]], list[list[Any]]]:
        answers = asyncio.gather(*(answerer.aanswer([text], how) for text, how in ASKED))
        streams = asyncio.gather(*(collect(answerer.astream(text, how)) for text, how in ASKED))
        return await answers, await streams

    answers, streams = asyncio.run(ask())
    assert [one for [one] in answers] == list(alone.values())
    assert [items[-1] for items in streams] == list(alone.values())
    assert ["".join(items[:-1]) for items in streams] == [a.text for a in alone.values()]
    # An event loop that ends while an answer is generated is no error of anybody else.
    stream = asyncio.run(begin(answerer))
    assert answerer.answer(["Who?"], "closed_book")
    del stream


async def begin(answerer: Answerer) -> Any:
    return answerer.astream(QUESTIONS[0])


def test_the_pieces_of_a_chain_of_thought_are_its_text(world: World, tmp_path: Path) -> None:
    with World(world.base_dir, tmp_path, "chain_of_thought").answerer() as answerer:
        [expected] = answerer.answer(QUESTIONS[:1], "combine")
        *pieces, answer = list(answerer.stream(QUESTIONS[0], "combine"))
    assert answer == expected
    assert "".join(map(str, pieces)) == expected.text


def test_a_batch_that_fails_is_answered_in_parts_and_says_nothing_twice(
    answerer: Answerer,
    alone: dict[tuple[str, str], Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = answerer.module.answer

    def fail(batch: QuestionBatch, *how: Any) -> Any:
        said = answer(batch, *how)
        if len(batch.questions) > 1 or "Cy" in batch.questions[0].question:
            raise torch.OutOfMemoryError("too large")
        return said

    monkeypatch.setattr(answerer.module, "answer", fail)
    with all_wait(answerer, monkeypatch) as batches:
        streams = {question: answerer.stream(question) for question in QUESTIONS}
    for question, stream in streams.items():
        if "Cy" in question:
            with pytest.raises(torch.OutOfMemoryError, match="too large"):
                list(stream)
        else:
            *pieces, found = list(stream)
            assert found == alone[question, "prag"]
            assert "".join(map(str, pieces)) == found.text
    assert [len(batch.questions) for batch in batches] == [6, 3, 1, 2, 1, 1, 3, 1, 2, 1, 1]


@pytest.mark.parametrize("method", ["prag", "combine"])
def test_weights_by_hand_take_the_place_of_those_of_retrieval(
    answerer: Answerer, alone: dict[tuple[str, str], Answer], method: AnswerMethod
) -> None:
    expected = alone[QUESTIONS[0], method]
    shown = {e.document_id: e.weight or 0.0 for e in expected.adapters}
    assert answerer.answer(QUESTIONS[:1], method, weights=shown) == [expected]
    first = next(iter(shown))
    [moved] = answerer.answer(QUESTIONS[:1], method, weights={**shown, first: 0.2})
    assert moved.text != expected.text
    assert moved.passages == expected.passages
    assert moved.adapters[0].weight == 0.2
    [control] = answerer.answer(QUESTIONS[:1], method, weights={"Ed": 1.0})
    assert [(e.document_id, e.weight) for e in control.adapters] == [("Ed", 1.0)]
    assert control.text not in (expected.text, moved.text)
    [*_, streamed] = answerer.stream(QUESTIONS[0], method, weights={"Ed": 1.0})
    assert asyncio.run(answerer.aanswer(QUESTIONS[:1], method, weights={"Ed": 1})) == [streamed]
    assert streamed == control


@pytest.mark.parametrize(
    ("method", "weights", "message"),
    [
        ("prag", {"Ada": 1.0, "Nobody": 1.0}, "there is no document 'Nobody' to give a weight to"),
        ("prag", {"Flo": 1.0}, "document 'Flo' has no adapter of its text as it is now"),
        ("prag", {"Ada": float("nan")}, "weight of document 'Ada' is 'nan'; give a finite number"),
        ("combine", {"Ada": float("-inf")}, "weight of document 'Ada' is '-inf'"),
        ("combine", {"Ada": 10**400}, "weight of document 'Ada' is '1000"),
        ("prag", {"Ada": 1e39}, "weight of document 'Ada' is '1e"),
        ("prag", {"Ada": "1"}, "weight of document 'Ada' is '1'"),
        ("prag", {}, "no weight is given; leave them out for retrieval to decide"),
        ("rag", {"Ada": 1.0}, "'rag' merges no adapters, so it takes no weights; use prag or"),
        ("own", None, "there is no method 'own' to ask; choose from closed_book, rag, prag"),
    ],
)
def test_weights_and_methods_that_do_not_exist_are_an_error_in_one_line(
    answerer: Answerer, method: Any, weights: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as one:
        answerer.answer(["Who?"], method, weights=weights)
    with pytest.raises(ValueError, match=message):
        list(answerer.stream("Who?", method, weights=weights))
    assert len(str(one.value).splitlines()) == 1


def test_adapters_that_were_used_last_are_read_once(world: World) -> None:
    read: list[str] = []
    with open_store(world.store, mode="read") as store:

        class Counted:
            layout = store.layout

            def get_many(self, document_ids: list[str]) -> torch.Tensor:
                read.extend(document_ids)
                return store.get_many(document_ids)

        adapter_bytes = 4 * store.layout.num_params
        like = torch.zeros(1)
        resident = ResidentAdapters(Counted(), like, 2 * adapter_bytes)  # type: ignore[arg-type]
        for names in (["Ada", "Bo"], ["Bo", "Ada", "Bo"], ["Cy", "Ada"], ["Bo"], ["Ada", "Di"], []):
            assert torch.equal(resident.get_many(names), store.get_many(names))
    assert read == ["Ada", "Bo", "Cy", "Bo", "Di"]
