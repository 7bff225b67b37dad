"""What is asked about a document, and when it counts as done or failed."""

import json
import re
from pathlib import Path

import pytest

from prag_lightning.augmentation.draft import Draft
from prag_lightning.augmentation.outcomes import Failure, Usage
from prag_lightning.augmentation.prompts import (
    answer_prompt,
    open_question_prompt,
    question_prompt,
    rewrite_prompt,
    text_prompt,
)
from prag_lightning.augmentation.requests import Reply
from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.augmentation.wording import LIST
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    QuestionAnswer,
    write_records,
)

_DOCUMENT = Document(
    id="d",
    title="Ada",
    text="# Ada\n\nAda was born in London. She plays the harp. She lives in Rome.",
)
_PAIR = {"question": "Where was Ada born?", "answer": "London", "full_answer": "In London."}
_HARP = {"question": "What does Ada play?", "answer": "the harp"}
_HOME = {"question": "Where does Ada live?", "answer": "Rome"}
_REWRITE = "London is where Ada was born. The harp is what she plays; Rome is where she lives."


def _order(
    max_attempts: int = 3,
    num_rewrites: int = 1,
    num_qas: int = 1,
    pairs: str = "list",
    grounded: bool = True,
) -> Order:
    assert pairs in ("list", "one_by_one")
    form: object = pairs
    return Order(num_rewrites, num_qas, max_attempts, 42, form, grounded)  # type: ignore[arg-type]


def _answer(draft: Draft, *texts: str) -> list[str | None]:
    """Answer the first request again and again; return the problems."""
    return [draft.accept(draft.requests[0], Reply(text)) for text in texts]


def _result(draft: Draft) -> tuple[Augmentation, Failure | None]:
    made = draft.outcome.augmentation
    assert made is not None
    return made, draft.outcome.failure


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
    assert draft.accept(rewrite, Reply(_REWRITE, Usage(1, 20, 5))) is None
    assert draft.requests == [pairs]
    assert draft.accept(pairs, Reply(json.dumps([_PAIR]), Usage(1, 30, 7))) is None
    assert draft.num_open == 0
    made, failure = _result(draft)
    assert failure is None
    assert made.model_dump() == {
        "document_id": "d",
        "rewrites": [_REWRITE],
        "qas": [_PAIR],
        "text_digest": text_digest(_DOCUMENT),
    }
    assert draft.outcome.usage == Usage(2, 50, 12)


def test_a_bad_answer_is_asked_again_with_another_seed() -> None:
    draft = Draft(_DOCUMENT, _order(num_rewrites=0))
    first = draft.requests[0]
    assert _answer(draft, "no") == [
        "neither JSON nor lines of Q: and A: with a pair",
    ]
    second = draft.requests[0]
    assert second.prompt == first.prompt
    assert second.seed != first.seed
    assert _answer(draft, json.dumps([_PAIR])) == [None]
    assert draft.outcome.failure is None
    assert draft.outcome.usage == Usage(2, num_refused=1)


def test_good_pairs_of_one_answer_are_joined_by_those_of_the_next() -> None:
    draft = Draft(_DOCUMENT, _order(num_rewrites=0, num_qas=3))
    problems = _answer(draft, json.dumps([_PAIR, {"question": "Why?"}]))
    assert problems == [
        f"1 of 3 {LIST}; answer of number 2: Field required",
    ]
    # The pair that is there already does not count twice.
    assert _answer(draft, json.dumps([_PAIR, _HARP, _HOME, _PAIR])) == [None]
    made, failure = _result(draft)
    assert failure is None
    assert [qa.answer for qa in made.qas] == ["London", "the harp", "Rome"]


def test_a_missing_full_answer_is_the_sentence_that_has_the_answer() -> None:
    draft = Draft(_DOCUMENT, _order(num_rewrites=0, num_qas=2, grounded=False))
    _answer(draft, json.dumps([_HARP, {"question": "Who is it?", "answer": "Bo"}]))
    made, _ = _result(draft)
    assert [qa.full_answer for qa in made.qas] == ["She plays the harp.", "Bo"]


def test_after_two_answers_without_a_list_single_pairs_are_asked_for() -> None:
    draft = Draft(_DOCUMENT, _order(max_attempts=5, num_rewrites=0, num_qas=2))
    assert [request.name for request in draft.requests] == [LIST]
    _answer(draft, "no", json.dumps([_PAIR]))
    (request,) = draft.requests
    assert request.name == "pair 2"
    assert request.is_short
    assert request.examples
    assert request.prompt.endswith("\nAda: She plays the harp.")
    assert _answer(draft, "Q: What does Ada play?\nA: the harp") == [None]
    made, failure = _result(draft)
    assert failure is None
    assert made.qas[1].full_answer == "She plays the harp."


def test_one_by_one_asks_about_another_sentence_for_each_pair_and_each_attempt() -> None:
    draft = Draft(_DOCUMENT, _order(num_rewrites=0, num_qas=3, pairs="one_by_one"))
    asked = [re.sub(r".*\n", "", request.prompt) for request in draft.requests]
    assert asked == [
        "Ada was born in London.",
        "Ada: She plays the harp.",
        "Ada: She lives in Rome.",
    ]
    shown = {example for request in draft.requests for example in request.examples}
    assert len(shown) == 5
    _answer(draft, "no")
    assert draft.requests[0].name == "pair 1"
    assert draft.requests[0].prompt.endswith("She plays the harp.")


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ("Q: Where was Ada born?\nA: Paris", "the answer is not in the document"),
        ("Q: When was Ada born?\nA: 1815", "the answer names 1815, which is not in the document"),
        ("Q: Where was Bo born?\nA: London", "the question names Bo, which is not in the document"),
        ("Q: What does Ada play?\nA: the harp", "the answer is not in the sentence"),
        ("Q: Was Ada born in London?\nA: London.", "the question gives its answer away"),
        ("Q: What is it?\nA: London", ""),
    ],
)
def test_a_single_pair_that_its_sentence_does_not_bear_out_is_refused(
    pair: str, problem: str
) -> None:
    order = _order(max_attempts=1, num_rewrites=0, pairs="one_by_one")
    draft = Draft(_DOCUMENT, order)
    assert _answer(draft, pair) == [problem or None]
    assert draft.outcome.usage.num_ungrounded == bool(problem)
    as_it_is = Draft(_DOCUMENT, _order(1, 0, 1, "one_by_one", grounded=False))
    assert _answer(as_it_is, pair) == [None]


def test_the_same_is_not_asked_or_answered_twice() -> None:
    draft = Draft(_DOCUMENT, _order(max_attempts=1, num_rewrites=0, num_qas=3, pairs="one_by_one"))
    first, second, third = draft.requests
    assert draft.accept(first, Reply("Q: Where's Ada born?\nA: London")) is None
    assert draft.accept(second, Reply("Q: What does Ada play?\nA: the harp")) is None
    problem = draft.accept(third, Reply("Q: where is Ada born\nA: Rome"))
    assert problem == "a question that was asked before"
    again = Draft(_DOCUMENT, _order(2, 0, 2, pairs="one_by_one"))
    one, two = again.requests
    again.accept(one, Reply("no"))
    again.accept(two, Reply("Q: What does Ada play?\nA: the harp"))
    assert _answer(again, "Q: What can Ada play?\nA: The harp.") == [
        "an answer that was given before"
    ]


def test_an_answer_in_time_is_kept_though_the_other_part_fails() -> None:
    draft = Draft(_DOCUMENT, _order(max_attempts=1))
    pairs, rewrite = draft.requests
    draft.accept(rewrite, Reply(_REWRITE))
    draft.accept(pairs, Reply("never", Usage(1, 3, 4), is_cut=True))
    assert _answer(draft, "no") == ["neither JSON nor lines of Q: and A: with a pair"]
    made, failure = _result(draft)
    assert (made.rewrites, made.qas) == ([_REWRITE], [])
    assert failure == Failure(
        document_id="d",
        reason=f"0 of 1 {LIST}; pair 1: neither JSON nor lines of Q: and A: with a pair",
        num_attempts=1,
        answer="no",
        missing=("pair 1",),
        text_digest=text_digest(_DOCUMENT),
    )


def test_good_pairs_are_kept_though_the_rewrite_fails() -> None:
    draft = Draft(_DOCUMENT, _order(max_attempts=2))
    pairs, rewrite = draft.requests
    draft.accept(pairs, Reply(json.dumps([_PAIR])))
    draft.accept(rewrite, Reply("Sorry, no."))
    draft.accept(draft.requests[0], Reply("London is", Usage(1, 9, 2), is_cut=True))
    made, failure = _result(draft)
    assert [qa.answer for qa in made.qas] == ["London"]
    assert failure is not None
    assert failure.reason == "rewrite 1: an unfinished text (cut after 2 tokens)"
    assert (failure.num_attempts, failure.answer) == (2, "London is")


def test_what_is_kept_of_an_earlier_run_is_not_asked_for_again() -> None:
    kept = Augmentation(
        document_id="d", rewrites=[_REWRITE], qas=[QuestionAnswer(**_PAIR)], text_digest="0"
    )
    # The second rewrite and the second pair were good then.
    earlier = Failure(
        document_id="d", reason="", missing=("pair 1", "rewrite 1", "summary 1"), kept=kept
    )
    order = Order(2, 2, pairs="one_by_one", num_summaries=1)
    draft = Draft(_DOCUMENT, order, earlier)
    assert [request.name for request in draft.requests] == ["pair 1", "rewrite 1", "summary 1"]
    assert _answer(draft, "Q: Where is Ada?\nA: in London") == [None]
    assert _answer(draft, f"{_REWRITE} Always.", "Ada lives in Rome.") == [None] * 2
    made, failure = _result(draft)
    assert failure is None
    assert made.rewrites == [f"{_REWRITE} Always.", _REWRITE, "Ada lives in Rome."]
    assert [qa.answer for qa in made.qas] == ["in London", "London"]
    assert made.text_digest == text_digest(_DOCUMENT)


def test_summaries_and_facts_are_further_texts_of_which_each_has_its_prompt() -> None:
    draft = Draft(_DOCUMENT, Order(num_rewrites=1, num_qas=0, num_summaries=1, num_facts=2))
    asked = draft.requests
    names = ["rewrite 1", "summary 1", "facts 1", "facts 2"]
    assert [request.name for request in asked] == names
    assert [request.prompt for request in asked] == [
        text_prompt(name.partition(" ")[0], _DOCUMENT.text) for name in names
    ]
    assert len({request.seed for request in asked}) == 4
    texts = [_REWRITE, "Ada, born in London, lives in Rome.", "Ada plays the harp.", "Ada lives."]
    for request, text in zip(asked, texts, strict=True):
        assert draft.accept(request, Reply(text)) is None
    assert _result(draft)[0].rewrites == texts


def test_an_answer_may_be_asked_for_by_itself_with_the_document_in_the_prompt() -> None:
    draft = Draft(_DOCUMENT, Order(0, 1, answers="by_themselves"))
    _answer(draft, json.dumps([{"question": "Where was Ada born?", "answer": "Rome"}]))
    (request,) = draft.requests
    assert request.name == "answer 1"
    assert request.is_short
    assert request.prompt == answer_prompt("Where was Ada born?", _DOCUMENT.text)
    assert _answer(draft, "**Answer:** London\nAs the passage says.") == [None]
    made, failure = _result(draft)
    assert failure is None
    assert made.qas == [
        QuestionAnswer(
            question="Where was Ada born?",
            answer="London",
            full_answer="Ada was born in London.",
        )
    ]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("unanswerable", "the document does not answer the question"),
        ("The passage does not mention it.", "the document does not answer the question"),
        ("Paris", "the answer is not in the document"),
        ("", "an empty answer"),
        (None, "the server is busy"),
    ],
)
def test_a_question_without_an_answer_is_dropped_for_another(
    answer: str | None, problem: str
) -> None:
    draft = Draft(_DOCUMENT, Order(0, 1, answers="by_themselves"))
    _answer(draft, json.dumps([_PAIR]))
    reply = Reply("", problem=problem) if answer is None else Reply(answer)
    assert draft.accept(draft.requests[0], reply) == problem
    assert [request.name for request in draft.requests] == [LIST]
    assert _answer(draft, json.dumps([_HARP]), "the harp") == [None, None]
    assert _result(draft)[0].qas[0].answer == "the harp"


def test_questions_without_answers_come_to_an_end() -> None:
    draft = Draft(_DOCUMENT, Order(0, 1, max_attempts=3, answers="by_themselves"))
    asked = []
    while requests := draft.requests:
        asked.append(requests[0].name)
        said = "unanswerable"
        if requests[0].name == LIST:
            said = json.dumps([_PAIR])
        elif requests[0].name == "pair 1":
            # What is asked about another sentence has another answer.
            word = {"London": "London", "harp": "harp", "Rome": "Rome"}
            found = next(w for w in word if w in requests[0].prompt.rpartition("\n")[2])
            said = f"Q: What of Ada?\nA: {found}"
        draft.accept(requests[0], Reply(said))
    assert asked == [LIST, "answer 1"] * 2 + ["pair 1", "answer 1"] * 3
    failure = draft.outcome.failure
    assert failure is not None
    assert failure.missing == ("pair 1",)
    assert failure.reason.endswith("pair 1: the document does not answer the question")


def test_pairs_before_the_cut_are_good_enough() -> None:
    draft = Draft(_DOCUMENT, _order(num_rewrites=0))
    draft.accept(draft.requests[0], Reply(f"[{json.dumps(_PAIR)}, {{", is_cut=True))
    assert draft.outcome.failure is None


def test_a_request_that_cannot_be_answered_is_not_made_again() -> None:
    draft = Draft(_DOCUMENT, _order(max_attempts=3, num_rewrites=0))
    for name in (LIST, "pair 1"):
        assert draft.requests[0].name == name
        problem = draft.accept(draft.requests[0], Reply("", problem="the prompt is too long"))
        assert problem == "the prompt is too long"
    assert draft.num_open == 0
    failure = draft.outcome.failure
    assert draft.outcome.augmentation is None
    assert failure is not None
    assert failure.reason == f"0 of 1 {LIST}; pair 1: the prompt is too long"
    # Fewer attempts than are allowed: the next run tries again.
    assert failure.num_attempts == 1


def test_a_document_without_text_fails_unasked() -> None:
    draft = Draft(Document(id="d", text=" \n"), _order())
    assert draft.requests == []
    outcome = draft.outcome
    assert outcome.augmentation is None
    assert outcome.failure is not None
    assert outcome.failure.reason == "the document has no text"
    assert outcome.usage == Usage()


@pytest.mark.parametrize(
    ("rewrite", "problem"),
    [
        (_REWRITE, None),
        (_REWRITE.replace("Rome", "Oslo"), "it names Oslo, not in the document"),
        (f"{_REWRITE} That was in 1815.", "it names 1815, not in the document"),
        ("DNA stores what cells inherit from parents, over generations of life", "something else"),
        ("Ada, born.", "it leaves out most of the document"),
    ],
)
def test_a_rewrite_that_the_document_does_not_bear_out_is_refused(
    rewrite: str, problem: str | None
) -> None:
    draft = Draft(_DOCUMENT, _order(max_attempts=1, num_qas=0))
    (said,) = _answer(draft, rewrite)
    assert (said is None) == (problem is None)
    assert (problem or "") in (said or "")
    as_it_is = Draft(_DOCUMENT, _order(max_attempts=1, num_qas=0, grounded=False))
    assert _answer(as_it_is, rewrite) == [None]


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("num_rewrites", -1, 0), ("num_qas", -1, 0), ("max_attempts", 0, 1)],
)
def test_an_order_that_makes_no_sense_is_refused(name: str, value: int, least: int) -> None:
    with pytest.raises(ValueError, match=f"{name} {value}: give at least {least}"):
        Order(**{name: value})  # type: ignore[arg-type]


def test_an_order_of_nothing_is_refused() -> None:
    message = "num_qas, num_rewrites, num_summaries, num_facts, num_implications, num_unanswerable"
    with pytest.raises(ValueError, match=message):
        Order(num_rewrites=0, num_qas=0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", 0, "temperature 0: give more than 0"),
        ("temperature", float("nan"), "temperature nan: give more than 0"),
        ("temperature", float("inf"), "temperature inf: give more than 0"),
        ("top_k", -1, "top_k -1: give at least 0"),
        ("top_p", 0, "top_p 0: give more than 0 and at most 1"),
        ("top_p", 1.1, "top_p 1.1: give more than 0 and at most 1"),
        ("max_new_tokens", 0, "max_new_tokens 0: give at least 1"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**{name: value})  # type: ignore[arg-type]


def test_a_few_words_have_less_room_than_a_list() -> None:
    assert Sampling().most_tokens(is_short=False) == 512
    assert Sampling().most_tokens(is_short=True) == 128
    assert Sampling(max_new_tokens=64).most_tokens(is_short=True) == 64
    # Who thinks aloud needs more.
    assert Sampling(max_new_tokens=4096).most_tokens(is_short=True) == 1024


_OPEN = "What colour is Ada's harp?"


def test_implications_are_further_texts() -> None:
    draft = Draft(_DOCUMENT, Order(0, 0, num_implications=1))
    (request,) = draft.requests
    assert request.prompt == text_prompt("implications", _DOCUMENT.text)
    assert "follows from" in request.prompt
    text = "Ada has been in London. Ada owns a harp."
    assert draft.accept(request, Reply(f"Here are the implications:\n{text}")) is None
    assert _result(draft)[0].rewrites == [text]


def test_a_question_that_the_document_does_not_answer_is_put_to_the_model_with_it() -> None:
    draft = Draft(_DOCUMENT, Order(0, 0, num_unanswerable=1))
    (request,) = draft.requests
    assert request.prompt == open_question_prompt(_DOCUMENT.text)
    assert _answer(draft, f"**Question:** {_OPEN}\nThe passage does not say.") == [None]
    (check,) = draft.requests
    assert check.prompt == answer_prompt(_OPEN, _DOCUMENT.text)
    assert _answer(draft, "Unanswerable.") == [None]
    made, failure = _result(draft)
    assert failure is None
    assert made.unanswerable == [_OPEN]
    assert not made.qas
    assert not made.rewrites


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (["Where was Ada born?", "London"], "a question that the document answers"),
        ([_OPEN, ""], "an empty answer"),
        (["Ada plays the harp."], "no question"),
        (["Who invented the combustion engine?"], "the question is not about the document"),
        ([""], "an empty answer"),
    ],
)
def test_a_question_that_is_answered_or_is_none_is_asked_for_again(
    answers: list[str], problem: str
) -> None:
    draft = Draft(_DOCUMENT, Order(0, 0, num_unanswerable=1))
    seed = draft.requests[0].seed
    assert _answer(draft, *answers)[-1] == problem
    (again,) = draft.requests
    assert again.name == "open 1"
    assert again.seed != seed
    assert _answer(draft, _OPEN, "It is not mentioned.") == [None, None]
    assert _result(draft)[0].unanswerable == [_OPEN]


def test_questions_that_are_all_answered_come_to_an_end_and_are_named() -> None:
    draft = Draft(_DOCUMENT, Order(0, 1, 2, num_unanswerable=2))
    _answer(draft, json.dumps([_PAIR]))
    # As asked in the pair, and in the other question.
    assert _answer(draft, _PAIR["question"]) == ["a question that was asked before"]
    assert _answer(draft, "Where is Ada?", "Rome", "Where is Ada?", _OPEN, "unanswerable") == [
        *(None, "a question that the document answers", "a question that was asked before"),
        *(None, None),
    ]
    made, failure = _result(draft)
    assert made.unanswerable == [_OPEN]
    assert failure is not None
    assert failure.missing == ("open 1",)
    assert failure.reason.startswith("open 1: a question")
    # What was good is not asked for again.
    earlier = failure.model_copy(update={"kept": made})
    later = Draft(_DOCUMENT, Order(0, 1, 2, num_unanswerable=2), earlier)
    assert [request.name for request in later.requests] == ["open 1"]
    assert _answer(later, "How old is Ada?", "unanswerable") == [None, None]
    assert _result(later)[0].unanswerable == ["How old is Ada?", _OPEN]


def test_what_the_document_does_not_say_is_recorded_for_every_kind() -> None:
    order = Order(num_rewrites=1, num_qas=1, max_attempts=1, num_summaries=1, num_unanswerable=1)
    draft = Draft(_DOCUMENT, order)
    said = {
        LIST: json.dumps([{"question": "Where did Ada die?", "answer": "Paris"}]),
        "rewrite 1": "Ada was born in 1815, in London, plays the harp and lives in Rome.",
        "summary 1": "Storks migrate southwards every autumn.",
        "open 1": "Who invented the combustion engine?",
    }
    while draft.requests:
        request = draft.requests[0]
        draft.accept(request, Reply(said.get(request.name, said[LIST])))
    dropped = {part.part: (part.text, part.reason) for part in draft.outcome.dropped}
    assert dropped["rewrite 1"] == (said["rewrite 1"], "it names 1815, not in the document")
    assert dropped["summary 1"][0] == said["summary 1"]
    assert dropped["open 1"] == (said["open 1"], "the question is not about the document")
    assert dropped["pair 1"][0] == "Where did Ada die? Paris"
    assert draft.outcome.usage.num_ungrounded == len(draft.outcome.dropped)
    free = Draft(_DOCUMENT, Order(1, 0, 1, grounded=False))
    _answer(free, said["rewrite 1"])
    assert free.outcome.dropped == ()


def _with_questions(folder: Path, *pairs: dict[str, str]) -> Order:
    """Answer these questions, which another model asked and answered wrongly."""
    qas = [QuestionAnswer(**{**pair, "answer": "?", "full_answer": "?"}) for pair in pairs]
    made = Augmentation(document_id="d", rewrites=["not taken"], qas=qas)
    write_records(folder / "questions.jsonl", [made])
    return Order(0, 3, 2, questions=folder / "questions.jsonl")


def test_questions_of_one_model_are_answered_by_another_with_the_document(tmp_path: Path) -> None:
    order = _with_questions(tmp_path, _PAIR, _HOME, _HARP)
    draft = Draft(_DOCUMENT, order)
    assert [request.prompt for request in draft.requests] == [
        answer_prompt(pair["question"], _DOCUMENT.text) for pair in (_PAIR, _HOME, _HARP)
    ]
    # What the document does not say is dropped, and no other question asked in its place.
    assert _answer(draft, "London", "Paris", "the harp") == [
        *(None, "the answer is not in the document", None)
    ]
    assert not draft.requests
    made, failure = _result(draft)
    assert [(qa.question, qa.answer) for qa in made.qas] == [
        (_PAIR["question"], "London"),
        (_HARP["question"], "the harp"),
    ]
    assert made.rewrites == []
    assert failure is not None
    assert (failure.missing, failure.num_attempts) == (("pair 2",), 2)
    assert [part.part for part in draft.outcome.dropped] == ["pair 2"]
    # A later run asks the model that question again, and no other.
    later = Draft(_DOCUMENT, order, failure.model_copy(update={"kept": made}))
    assert _answer(later, "Rome") == [None]
    assert [qa.answer for qa in _result(later)[0].qas] == ["London", "Rome", "the harp"]


def test_a_file_of_questions_counts_by_what_it_asks(tmp_path: Path) -> None:
    order = _with_questions(tmp_path, _PAIR)
    other = Draft(_DOCUMENT.model_copy(update={"id": "other"}), order)
    assert not other.requests
    assert other.outcome.failure is not None
    assert other.outcome.failure.reason.endswith("questions.jsonl has no questions about it")
    asked = order.settings["questions"]
    assert _with_questions(tmp_path, _HARP).settings["questions"] != asked
    assert _with_questions(tmp_path, _PAIR).settings["questions"] == asked
    assert "questions" not in Order().settings
    with pytest.raises(FileNotFoundError, match="nothing"):
        Draft(_DOCUMENT, Order(questions=tmp_path / "nothing.jsonl"))
