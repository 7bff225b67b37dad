from collections.abc import Sequence

import pytest

from prag_lightning.data.documents import Augmentation, Document, QuestionAnswer
from prag_lightning.data.encoding import (
    EncodingSteps,
    EncodingTask,
    TrainingPrompt,
    document_prompts,
)
from prag_lightning.prompts import PromptEncoder
from tests.conftest import tiny_tokenizer

DOCUMENT = Document(id="d", title="Ada", text="text")
ENCODER = PromptEncoder(tiny_tokenizer())


def augmentation(num_rewrites: int, num_qas: int) -> Augmentation:
    return Augmentation(
        document_id="d",
        rewrites=[f"rewrite {n}" for n in range(num_rewrites)],
        qas=[
            QuestionAnswer(question=f"q{n}", answer=f"a{n}", full_answer=f"It is a{n}.")
            for n in range(num_qas)
        ],
    )


def task(document_id: str, num_prompts: int) -> EncodingTask:
    prompts = [TrainingPrompt(f"q{n}", (document_id,), f"a{n}") for n in range(num_prompts)]
    return EncodingTask(document_id, prompts)


def steps(tasks: Sequence[EncodingTask], num_slots: int = 2, **settings: object) -> EncodingSteps:
    return EncodingSteps(tasks, num_slots, ENCODER, **settings)  # type: ignore[arg-type]


def test_the_prompts_of_a_document_are_those_published_in_their_order() -> None:
    assert document_prompts(DOCUMENT, augmentation(1, 3)) == [
        TrainingPrompt("q0", ("text",), "a0"),
        TrainingPrompt("q0", ("rewrite 0",), "a0"),
        TrainingPrompt("q1", ("text",), "a1"),
        TrainingPrompt("q1", ("rewrite 0",), "a1"),
        TrainingPrompt("q2", (), "a2"),
    ]


@pytest.mark.parametrize(
    ("num_rewrites", "num_qas", "num_below_a_text", "num_alone"),
    [(1, 1, 2, 0), (1, 2, 2, 1), (2, 3, 6, 1), (0, 4, 2, 2), (3, 5, 12, 2), (1, 0, 0, 0)],
)
def test_half_of_the_pairs_rounded_up_stand_below_the_document_and_every_rewrite(
    num_rewrites: int, num_qas: int, num_below_a_text: int, num_alone: int
) -> None:
    prompts = document_prompts(DOCUMENT, augmentation(num_rewrites, num_qas))
    assert [bool(prompt.passages) for prompt in prompts] == (
        [True] * num_below_a_text + [False] * num_alone
    )


@pytest.mark.parametrize("num_prompts", [1, 4, 5, 7])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 9])
@pytest.mark.parametrize("passes", [1, 3])
def test_every_pass_goes_through_all_prompts_in_order_and_begins_a_batch(
    num_prompts: int, batch_size: int, passes: int
) -> None:
    work = task("d", num_prompts)
    batches = [work.of_step(step, batch_size) for step in range(work.num_steps(batch_size, passes))]
    one_pass = [
        work.prompts[start : start + batch_size] for start in range(0, num_prompts, batch_size)
    ]
    assert batches == one_pass * passes


def test_a_step_holds_the_next_prompts_of_every_busy_slot() -> None:
    work = [task("long", 3), task("short", 1), task("next", 2)]
    encoding = steps(work)
    found = [
        [(row.slot, row.ids) for row in encoding[index].rows] for index in range(len(encoding))
    ]
    long, short, later = (
        [ENCODER.encode_training(p.question, p.passages, p.answer)[0] for p in one.prompts]
        for one in work
    )
    assert found == [
        [(0, long[0]), (1, short[0])],
        [(0, long[1]), (1, later[0])],
        [(0, long[2]), (1, later[1])],
    ]


def test_a_batch_says_which_documents_begin_end_and_train_in_which_slots() -> None:
    encoding = steps([task("long", 3), task("short", 1), task("next", 2)])
    batches = [encoding[index] for index in range(len(encoding))]
    assert [batch.begins for batch in batches] == [{0: "long", 1: "short"}, {1: "next"}, {}]
    assert [batch.ends for batch in batches] == [{1: "short"}, {}, {0: "long", 1: "next"}]
    assert [batch.documents for batch in batches] == [
        {0: "long", 1: "short"},
        {0: "long", 1: "next"},
        {0: "long", 1: "next"},
    ]


def test_several_prompts_of_a_document_make_one_step_of_its_slot() -> None:
    encoding = steps([task("a", 3), task("b", 2)], batch_size=2, passes=2)
    slots = [[row.slot for row in encoding[i].rows] for i in range(len(encoding))]
    assert slots == [[0, 0, 1, 1], [0, 1, 1], [0, 0], [0]]


def test_loss_is_on_the_prompt_and_the_answer_or_on_the_answer_alone() -> None:
    work = [task("a", 1)]
    published, ours = steps(work)[0], steps(work, loss_on="answer")[0]
    ids, num_user_tokens = ENCODER.encode_training("q0", ("a",), "a0")
    assert published.targets.tolist() == ids[1:]
    assert ours.targets.tolist() == ids[num_user_tokens:]
    assert ENCODER.tokenizer.decode(ours.targets[:-1].tolist()) == "The answer is a0."


def test_prompts_are_cut_to_the_longest_that_is_allowed() -> None:
    work = [EncodingTask("a", [TrainingPrompt("q", ("long text " * 200,), "a")])]
    assert steps(work)[0].num_tokens > 200
    assert 150 < steps(work, max_tokens=200)[0].num_tokens <= 200


def test_a_step_that_there_is_not_is_an_index_error() -> None:
    encoding = steps([task("a", 3)])
    assert len(encoding) == 3
    with pytest.raises(IndexError, match="3"):
        encoding[3]
