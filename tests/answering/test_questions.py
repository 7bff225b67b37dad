import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.question_set import QuestionSet
from prag_lightning.answering.questions import (
    METHODS,
    MethodName,
    QuestionBatches,
    first_of_each_type,
)
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.retrieval.base import Retriever
from tests.conftest import tiny_tokenizer

DOCUMENTS = {
    name: Document(id=name, title="", text=f"{name} " * (3 * number + 1))
    for number, name in enumerate("abcdef")
}
QUESTIONS = [
    Question(id="1", question="Where was Ada born?", answers=["Paris", "P."], document_ids=["a"]),
    Question(id="2", question="Who?", answers=["Bo"], document_ids=["b", "c"]),
    Question(id="3", question="What is it called?", answers=["1984"], document_ids=["f"]),
]
RETRIEVED = {
    "1": [RetrievedDocument("f", 9.0), RetrievedDocument("a", 8.5)],
    "2": [RetrievedDocument("b", 3.0), RetrievedDocument("d", 1.0)],
    "3": [],
}
ENCODER = PromptEncoder(tiny_tokenizer())


def batches(
    name: MethodName, questions: Sequence[Question] = QUESTIONS, **settings: Any
) -> list[QuestionBatch]:
    options = {
        "batch_size": 2,
        "max_tokens": 3000,
        "documents": DOCUMENTS,
        "encoded": list(DOCUMENTS),
        **settings,
    }
    made = QuestionBatches(name, questions, retrieved=RETRIEVED, encoder=ENCODER, **options)
    return [made[index] for index in range(len(made))]


def by_question(name: MethodName) -> dict[str, tuple[list[str], list[str]]]:
    """Each question's passages and adapters by name."""
    return {
        question.id: ([found.document_id for found in passages], [a.document_id for a in adapters])
        for batch in batches(name)
        for question, passages, adapters in zip(
            batch.questions, batch.passages, batch.adapters, strict=True
        )
    }


@pytest.mark.parametrize(
    ("name", "passages", "adapters"),
    [
        ("closed_book", "none", "none"),
        ("rag", "retrieved", "none"),
        ("rag_gold", "gold", "none"),
        ("prag", "none", "retrieved"),
        ("own", "none", "gold"),
        ("random", "none", "gold"),
        ("combine", "retrieved", "retrieved"),
        ("combine_late", "retrieved", "retrieved"),
        ("task", "none", "none"),
        ("rag_task", "retrieved", "none"),
    ],
)
def test_a_method_puts_its_documents_into_the_prompt_and_its_adapters_into_the_model(
    name: MethodName, passages: str, adapters: str
) -> None:
    sources = {
        "none": {question.id: [] for question in QUESTIONS},
        "gold": {question.id: question.document_ids for question in QUESTIONS},
        "retrieved": {key: [d.document_id for d in found] for key, found in RETRIEVED.items()},
    }
    found = by_question(name)
    assert {key: pair[0] for key, pair in found.items()} == sources[passages]
    assert {key: pair[1] for key, pair in found.items()} == sources[adapters]


def test_every_method_is_named_once_and_tested_here() -> None:
    assert set(METHODS) == {
        "closed_book", "rag", "rag_gold", "prag", "own", "other", "random", "combine",
        "combine_late", "rag_other", "task", "rag_task",
    }  # fmt: skip


def test_retrieved_documents_keep_their_scores_and_gold_ones_have_score_1() -> None:
    first = {
        b.questions[i].id: b.adapters[i] for b in batches("prag") for i in range(len(b.questions))
    }
    assert first["1"] == RETRIEVED["1"]
    gold = [found for batch in batches("own") for row in batch.adapters for found in row]
    assert {found.score for found in gold} == {1.0}


def test_other_takes_as_many_strangers_as_there_are_gold_documents_and_never_one_of_those() -> None:
    questions = [
        Question(
            id=str(n), question="Who?", document_ids=random.Random(n).sample("abcdef", 1 + n % 3)
        )
        for n in range(60)
    ]
    drawn = set()
    for batch in batches("other", questions):
        for question, row in zip(batch.questions, batch.adapters, strict=True):
            names = [found.document_id for found in row]
            assert len(set(names)) == len(names) == len(question.document_ids)
            assert set(names).isdisjoint(question.document_ids)
            drawn.update(names)
        assert not any(batch.passages)
    assert drawn == set(DOCUMENTS)


class Finder(Retriever):
    """Finds what `RETRIEVED` says."""

    def retrieve(self, questions: Sequence[Question], top_k: int) -> list[list[RetrievedDocument]]:
        return [RETRIEVED[question.id][:top_k] for question in questions]


def adapters_of(name: MethodName, **settings: Any) -> dict[str, list[RetrievedDocument]]:
    made = batches(name, **settings)
    return {
        q.id: row for batch in made for q, row in zip(batch.questions, batch.adapters, strict=True)
    }


def test_rag_other_has_as_many_strangers_as_combine_has_documents_with_the_same_scores() -> None:
    combined, strangers = adapters_of("combine"), adapters_of("rag_other")
    for key, documents in combined.items():
        assert [d.score for d in strangers[key]] == [d.score for d in documents]
    # None of what was found, and none of the gold documents.
    assert {d.document_id for d in strangers["1"]}.isdisjoint("fa")
    assert {d.document_id for d in strangers["2"]}.isdisjoint("bdc")
    assert [pair[0] for pair in by_question("rag_other").values()] == [
        pair[0] for pair in by_question("combine").values()
    ]
    # Where a document has no adapter, which no merge has, nobody stands in for it.
    assert [d.score for d in adapters_of("rag_other", encoded=list("acd"))["1"]] == [8.5]


def test_further_controls_answer_only_where_they_are_named() -> None:
    names = {"combine_late", "rag_other", "task", "rag_task"}
    settings: dict[str, Any] = {
        "needs_answers": True,
        "limit": None,
        "place": (0, 1),
        "open_retriever": Finder,
        "top_k": 2,
        "documents": DOCUMENTS,
        "encoded": list(DOCUMENTS),
    }
    asked = QuestionSet.read(QUESTIONS, methods=None, **settings)
    assert set(asked.methods) == METHODS.keys() - names
    # They need no gold documents; the warm start needs no store, and nothing retrieved.
    bare = [question.model_copy(update={"document_ids": []}) for question in QUESTIONS]
    named = QuestionSet.read(bare, methods=["rag_other", "task", "rag_task"], **settings)
    assert named.retrieved == RETRIEVED
    assert named.needs_adapters
    task = QuestionSet.read(bare, methods=["task"], **settings)
    assert not task.retrieved
    assert not task.needs_adapters


def test_other_takes_the_same_strangers_in_every_run_whatever_the_order() -> None:
    state = random.getstate()
    expected = by_question("other")
    random.seed(99)
    again = batches("other", QUESTIONS[::-1], encoded=list(DOCUMENTS)[::-1])
    assert {
        question.id: [found.document_id for found in row]
        for batch in again
        for question, row in zip(batch.questions, batch.adapters, strict=True)
    } == {key: adapters for key, (_, adapters) in expected.items()}
    random.setstate(state)


def test_other_takes_what_has_adapters_where_strangers_are_few() -> None:
    (batch,) = batches("other", [QUESTIONS[0]], encoded=["a", "b"])
    assert [found.document_id for found in batch.adapters[0]] == ["b"]
    (batch,) = batches("other", [QUESTIONS[0]], encoded=["a"])
    assert batch.adapters == [[]]


@pytest.mark.parametrize("name", list(METHODS))
def test_all_questions_are_asked_once_the_shortest_prompts_first(name: MethodName) -> None:
    made = batches(name)
    assert [len(batch.questions) for batch in made] == [2, 1]
    assert all(batch.method == name for batch in made)
    assert sorted(question.id for batch in made for question in batch.questions) == ["1", "2", "3"]
    rows = [row for b in made for row in zip(b.input_ids, b.attention_mask, strict=True)]
    prompts = [ids[mask == 1] for ids, mask in rows]
    lengths = [len(str(ENCODER.tokenizer.decode(prompt.tolist()))) for prompt in prompts]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 3


@pytest.mark.parametrize("name", ["closed_book", "rag", "combine"])
def test_rows_are_the_prompts_padded_at_the_left(name: MethodName) -> None:
    for batch in batches(name):
        for row, question in enumerate(batch.questions):
            texts = [DOCUMENTS[found.document_id].text for found in batch.passages[row]]
            prompt = ENCODER.encode_generation(question.question, texts)
            gap = batch.input_ids.shape[1] - len(prompt)
            assert batch.input_ids[row].tolist() == [0] * gap + prompt
            assert batch.attention_mask[row].tolist() == [0] * gap + [1] * len(prompt)
        assert batch.attention_mask.min(dim=0).values[-1] == 1
        assert batch.attention_mask.max(dim=0).values[0] == 1


@pytest.mark.parametrize("name", ["closed_book", "rag"])
def test_the_first_answer_of_each_question_is_behind_its_prompt(
    name: MethodName,
) -> None:
    for batch in batches(name):
        for row, question in enumerate(batch.questions):
            ids, length = batch.answer_ids[row].tolist(), int(batch.answer_lengths[row])
            assert ENCODER.tokenizer.decode(ids[:length]) == f" {question.answers[0]}"
            assert set(ids[length:]) <= {0}


def test_prompts_are_cut_to_the_longest_that_is_allowed() -> None:
    whole = batches("rag_gold", max_tokens=3000)[-1]
    longest = int(whole.attention_mask.sum(dim=1).max())
    cut = batches("rag_gold", max_tokens=longest - 5)[-1]
    assert int(cut.attention_mask.sum(dim=1).max()) <= longest - 5
    text = str(ENCODER.tokenizer.decode(cut.input_ids[-1].tolist()))
    assert text.endswith("Question: What is it called?<|assistant|>The answer is")


@pytest.mark.parametrize("name", ["rag_gold", "own", "other", "random"])
def test_a_method_that_needs_gold_documents_refuses_a_question_without_any(
    name: MethodName,
) -> None:
    question = Question(id="q7", question="Who?", answers=["Bo"])
    message = rf"method '{name}' needs each question's gold documents, but question 'q7' names none"
    with pytest.raises(ValueError, match=message):
        batches(name, [question])


def test_a_document_that_nobody_knows_is_named() -> None:
    question = Question(id="q", question="Who?", document_ids=["zzz"])
    with pytest.raises(ValueError, match=r"document 'zzz' is named by a question .* is not in"):
        batches("rag_gold", [question])


@pytest.mark.parametrize("index", [-1, 2])
def test_a_batch_that_there_is_not_is_an_index_error(index: int) -> None:
    made = QuestionBatches("closed_book", QUESTIONS, {}, DOCUMENTS, [], ENCODER, 2, 100)
    with pytest.raises(IndexError, match=str(index)):
        made[index]


def test_a_batch_moves_with_its_tensors_and_keeps_the_rest() -> None:
    batch = batches("rag")[0]
    moved = batch.to(torch.device("meta"))
    for name in ("input_ids", "attention_mask", "answer_ids", "answer_lengths"):
        assert getattr(moved, name).device.type == "meta"
    assert (moved.questions, moved.passages) == (batch.questions, batch.passages)


@pytest.mark.parametrize(
    ("limit", "kept"), [(1, "034"), (2, "013456"), (3, "01234567"), (9, "012345678")]
)
def test_the_first_of_each_type_are_kept_in_order_and_those_without_one_are_a_type(
    limit: int, kept: str
) -> None:
    types = ["a", "a", "a", None, "b", "b", None, None, "a"]
    questions = [
        Question(id=str(number), question="Who?", type=kind) for number, kind in enumerate(types)
    ]
    assert "".join(question.id for question in first_of_each_type(questions, limit)) == kept
