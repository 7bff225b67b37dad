"""Augmentation by a local model in Lightning's predict loop."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from transformers import PreTrainedModel

from prag_lightning.augmentation.outcomes import Usage
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.augmentation.text_generator import TextGenerator
from prag_lightning.augmentation.transformers_augmenter import TransformersAugmenter, _rank_of
from prag_lightning.documents.records import Document
from prag_lightning.language_model.base_model import load_base
from tests.augmentation.chat_server_double import good_answer
from tests.augmentation.recorder import Recorder
from tests.conftest import tiny_base, tiny_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a small random model that has room for long prompts."""
    folder = tmp_path_factory.mktemp("model")
    base = tiny_base()
    base.config.max_position_embeddings = 4096
    base.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Request], str]], None]:
    """Give answers of our own instead of the model's."""

    def patch(text: Callable[[Request], str]) -> None:
        def answer(self: TextGenerator, requests: Sequence[Request]) -> list[Reply]:
            return [Reply(text(request), Usage(1, 10, 1)) for request in requests]

        monkeypatch.setattr(TextGenerator, "answer", answer)

    return patch


def _augment(
    model: str, documents: Sequence[Document], batch_size: int, max_attempts: int = 3
) -> tuple[Recorder, Usage]:
    recorder = Recorder()
    augmenter = TransformersAugmenter(
        model, Order(max_attempts=max_attempts), Sampling(max_new_tokens=12), batch_size
    )
    return recorder, augmenter.run(documents, recorder)


def _obey(request: Request) -> str:
    body: dict[str, Any] = {"messages": [{"content": request.prompt}], "seed": request.seed}
    return good_answer(body)


def test_what_a_model_says_about_a_document_does_not_depend_on_the_batch(
    model: str, documents: list[Document]
) -> None:
    alone, _ = _augment(model, documents, batch_size=1, max_attempts=2)
    together, usage = _augment(model, documents, batch_size=3, max_attempts=2)
    assert together.outcomes == alone.outcomes
    # A random model says nothing of use, and to each document something else.
    answers = {together.failure(document.id).answer for document in documents}
    assert len(answers) == len(documents)
    spent = sum((outcome.usage for outcome in together.outcomes.values()), Usage())
    assert usage == spent
    # Twice a list, then twice each of three single pairs, and twice a rewrite.
    assert usage.num_requests == usage.num_refused == 5 * (2 + 2 * 3 + 2)
    assert together.num_heard == together.num_expected == usage.num_requests


def test_bad_answers_are_asked_again_within_the_batch(
    model: str,
    documents: list[Document],
    answer_with: Callable[[Callable[[Request], str]], None],
) -> None:
    seen: list[Request] = []

    def stumble(request: Request) -> str:
        seen.append(request)
        return "no" if len(seen) in (1, 3) else _obey(request)

    answer_with(stumble)
    recorder, usage = _augment(model, documents, batch_size=2)
    assert all(outcome.failure is None for outcome in recorder.outcomes.values())
    assert len(recorder.outcomes) == 5
    assert usage == Usage(12, 120, 12, num_refused=2)
    assert len({request.seed for request in seen}) == 12


def test_a_termination_ends_the_run_and_what_was_done_is_delivered(
    model: str,
    documents: list[Document],
    answer_with: Callable[[Callable[[Request], str]], None],
) -> None:
    def terminated(request: Request) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        # One of the first batch is not done.
        return "no" if "Ada 1" in request.prompt else _obey(request)

    answer_with(terminated)
    recorder = Recorder()
    with pytest.raises(SIGTERMException):
        TransformersAugmenter(model, batch_size=3).run(documents, recorder)
    assert [*recorder.outcomes] == ["d0", "d2"]


def test_an_interruption_stays_one(
    model: str,
    documents: list[Document],
    answer_with: Callable[[Callable[[Request], str]], None],
) -> None:
    def interrupted(request: Request) -> str:
        raise KeyboardInterrupt

    answer_with(interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            _augment(model, documents, batch_size=2)
    finally:
        signal.signal(signal.SIGINT, handler)


def test_an_augmenter_that_stays_loaded_says_the_same_and_loads_its_model_once(
    model: str, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, usage = _augment(model, documents, batch_size=3, max_attempts=1)
    loaded: list[str] = []

    def load(name: str, **settings: Any) -> PreTrainedModel:
        loaded.append(name)
        return load_base(name, **settings)

    monkeypatch.setattr("prag_lightning.augmentation.transformers_augmenter.load_base", load)
    order, recorder = Order(max_attempts=1), Recorder()
    augmenter = TransformersAugmenter(model, order, Sampling(max_new_tokens=12), 3)
    augmenter.stay_loaded("cpu")
    spent = [augmenter.run(batch, recorder) for batch in augmenter.batches(documents)]
    assert loaded == [model]
    assert len(spent) == 2
    assert recorder.outcomes == expected.outcomes
    assert sum(spent, Usage()) == usage


def test_a_missing_model_is_said(tmp_path: Path, documents: list[Document]) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.* cannot be loaded"):
        _augment(str(tmp_path / "none"), documents, batch_size=2)


def test_settings_of_the_chat_template_are_settings_of_the_augmentations() -> None:
    own = TransformersAugmenter(chat_template_kwargs={"reasoning_effort": "low"})
    assert own.settings["chat_template_kwargs.reasoning_effort"] == "low"
    assert not any("chat_template" in name for name in TransformersAugmenter().settings)


@pytest.mark.parametrize("name", ["batch_size", "devices"])
def test_numbers_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} 0: give at least 1"):
        TransformersAugmenter(**{name: 0})  # type: ignore[arg-type]


def test_ranks_share_the_documents_about_evenly() -> None:
    ranks = [_rank_of(f"document {number}", 4) for number in range(1000)]
    assert sorted(set(ranks)) == [0, 1, 2, 3]
    assert all(200 < ranks.count(rank) < 300 for rank in range(4))
