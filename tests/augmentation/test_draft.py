"""What is asked about a document, and when it counts as done or failed."""

import json

import pytest

from prag_lightning.augmentation.draft import Draft, Failure, Reply, Usage
from prag_lightning.augmentation.prompts import question_prompt, rewrite_prompt
from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.documents.records import Augmentation, Document

_DOCUMENT = Document(id="d", text="Ada was born in London.")
_PAIR = {"question": "Who?", "answer": "Ada", "full_answer": "It was Ada."}
_PAIRS = json.dumps([_PAIR])


def _order(max_attempts: int = 3, num_rewrites: int = 1) -> Order:
    return Order(num_rewrites=num_rewrites, num_qas=1, max_attempts=max_attempts)


def test_pairs_and_every_rewrite_are_asked_for_with_different_seeds() -> None:
    requests = Draft(_DOCUMENT, _order(num_rewrites=2)).requests
    assert [request.prompt for request in requests] == [
        question_prompt(_DOCUMENT.text, 1),
        rewrite_prompt(_DOCUMENT.text),
        rewrite_prompt(_DOCUMENT.text),
    ]
    assert len({request.seed for request in requests}) == 3
    assert all(0 <= request.seed < 2**31 for request in requests)


def test_seeds_depend_on_document_and_seed_and_on_nothing_else() -> None:
    def seeds(document_id: str, seed: int) -> list[int]:
        document = Document(id=document_id, text="Any text.")
        return [request.seed for request in Draft(document, Order(seed=seed)).requests]

    assert seeds("a", 1) == seeds("a", 1)
    assert len({*seeds("a", 1), *seeds("b", 1), *seeds("a", 2)}) == 6


def test_good_answers_make_an_augmentation_and_their_cost_is_added_up() -> None:
    draft = Draft(_DOCUMENT, _order())
    pairs, rewrite = draft.requests
    draft.accept(rewrite, Reply("London is where Ada was born.", Usage(1, 20, 5)))
    assert draft.requests == [pairs]
    draft.accept(pairs, Reply(_PAIRS, Usage(1, 30, 7)))
    assert draft.requests == []
    result = draft.outcome.result
    assert isinstance(result, Augmentation)
    assert result.model_dump() == {
        "document_id": "d",
        "rewrites": ["London is where Ada was born."],
        "qas": [_PAIR],
    }
    assert draft.outcome.usage == Usage(2, 50, 12)


def test_a_bad_answer_is_asked_again_with_another_seed() -> None:
    draft = Draft(_DOCUMENT, _order(num_rewrites=0))
    seeds = []
    for answer in ("no", "[]", _PAIRS):
        (request,) = draft.requests
        seeds.append(request.seed)
        draft.accept(request, Reply(answer))
    assert len(set(seeds)) == 3
    assert isinstance(draft.outcome.result, Augmentation)


def test_after_the_last_attempt_the_document_has_failed_and_nothing_more_is_asked() -> None:
    draft = Draft(_DOCUMENT, _order(max_attempts=2))
    pairs, rewrite = draft.requests
    draft.accept(pairs, Reply("no"))
    assert draft.requests[0].prompt == pairs.prompt
    draft.accept(draft.requests[0], Reply("never", Usage(1, 3, 4), is_cut=True))
    draft.accept(rewrite, Reply("London bore Ada."))
    assert draft.requests == []
    assert draft.outcome.result == Failure(
        document_id="d",
        reason="question-answer pairs: no JSON object in the answer (cut after 4 tokens)",
        num_attempts=2,
        answer="never",
    )
    assert draft.outcome.usage.num_requests == 3


def test_a_rewrite_that_was_cut_is_asked_for_again() -> None:
    draft = Draft(_DOCUMENT, _order(max_attempts=1))
    draft.accept(draft.requests[1], Reply("London is", Usage(1, 9, 2), is_cut=True))
    result = draft.outcome.result
    assert isinstance(result, Failure)
    assert result.reason == "rewrite 1: an unfinished text (cut after 2 tokens)"


def test_pairs_before_the_cut_are_good_enough() -> None:
    draft = Draft(_DOCUMENT, _order(num_rewrites=0))
    draft.accept(draft.requests[0], Reply(f"[{json.dumps(_PAIR)}, {{", is_cut=True))
    assert isinstance(draft.outcome.result, Augmentation)


def test_a_request_that_cannot_be_answered_is_not_made_again() -> None:
    draft = Draft(_DOCUMENT, _order())
    draft.accept(draft.requests[0], Reply("", problem="the prompt is too long"))
    assert draft.requests == []
    result = draft.outcome.result
    assert isinstance(result, Failure)
    assert result.reason == "question-answer pairs: the prompt is too long"


def test_a_document_without_text_fails_unasked() -> None:
    draft = Draft(Document(id="d", text=" \n"), _order())
    assert draft.requests == []
    assert isinstance(draft.outcome.result, Failure)
    assert draft.outcome.result.reason == "the document has no text"
    assert draft.outcome.usage == Usage()


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("num_rewrites", -1, 0), ("num_qas", 0, 1), ("max_attempts", 0, 1)],
)
def test_an_order_that_makes_no_sense_is_refused(name: str, value: int, least: int) -> None:
    with pytest.raises(ValueError, match=f"{name} {value}: give at least {least}"):
        Order(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", 0, "temperature 0: give more than 0"),
        ("top_k", -1, "top_k -1: give at least 0"),
        ("max_new_tokens", 0, "max_new_tokens 0: give at least 1"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(name: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**{name: value})
