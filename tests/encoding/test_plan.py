import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.digests import text_digest
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    QuestionAnswer,
    read_records,
    write_records,
)
from prag_lightning.encoding.objectives import Distill
from prag_lightning.encoding.plan import (
    EncodingSteps,
    EncodingTask,
    PassageInPrompt,
    TrainingPrompt,
    document_prompts,
)
from prag_lightning.encoding.planning import AugmentationLimits, plan_tasks
from prag_lightning.language_model.prompts import PromptEncoder
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
        TrainingPrompt("q0", ("text",), "a0", "It is a0."),
        TrainingPrompt("q0", ("rewrite 0",), "a0", "It is a0."),
        TrainingPrompt("q1", ("text",), "a1", "It is a1."),
        TrainingPrompt("q1", ("rewrite 0",), "a1", "It is a1."),
        TrainingPrompt("q2", (), "a2", "It is a2."),
    ]


@pytest.mark.parametrize(
    ("num_rewrites", "num_qas", "num_below_a_text", "num_alone"),
    [(1, 1, 2, 0), (1, 2, 2, 1), (2, 3, 6, 1), (0, 4, 2, 2), (3, 5, 12, 2)],
)
def test_half_of_the_pairs_rounded_up_stand_below_the_document_and_every_rewrite(
    num_rewrites: int, num_qas: int, num_below_a_text: int, num_alone: int
) -> None:
    prompts = document_prompts(DOCUMENT, augmentation(num_rewrites, num_qas))
    assert [bool(prompt.passages) for prompt in prompts] == (
        [True] * num_below_a_text + [False] * num_alone
    )


def test_pairs_stand_below_no_passage_below_all_or_apart_from_them() -> None:
    made = augmentation(1, 3)
    choices: tuple[PassageInPrompt, ...] = ("never", "always", "apart")
    passages = [[p.passages for p in document_prompts(DOCUMENT, made, c)] for c in choices]
    below = [("text",), ("rewrite 0",)]
    assert passages == [[()] * 3, below * 3, [()] * 3 + below]
    plain = document_prompts(DOCUMENT, made, "apart")[3:]
    assert [prompt.question for prompt in plain] == ["", ""]
    assert "".join(plain[0].passages) == DOCUMENT.text


def test_without_pairs_the_document_and_each_rewrite_are_texts_by_themselves() -> None:
    (plain, rewritten) = document_prompts(DOCUMENT, augmentation(1, 0))
    assert (plain.passages, rewritten.passages) == (("text",), ("rewrite 0",))
    encoding = steps([EncodingTask("d", [plain, rewritten])], num_slots=1)
    texts = [ENCODER.tokenizer.decode(row.ids) for i in (0, 1) for row in encoding[i].rows]
    assert texts == ["text", "rewrite 0"]
    # Every token but the first is learnt, whatever the loss is on.
    for loss_on in ("prompt_and_answer", "answer"):
        batch = steps([EncodingTask("d", [rewritten])], loss_on=loss_on)[0]
        assert batch.parts[0].targets.tolist() == batch.rows[0].ids[1:]
    assert steps([EncodingTask("d", [rewritten])], max_tokens=3)[0].num_tokens == 3


def augmentations(file: Path) -> dict[str, Augmentation]:
    return {record.document_id: record for record in read_records(file, Augmentation)}


@pytest.fixture
def augmentations_file(tmp_path: Path) -> Path:
    """The augmentations of three documents, with fewer and fewer pairs."""
    augmentations = [
        augmentation(2, 4).model_copy(update={"document_id": "a"}),
        augmentation(1, 2).model_copy(update={"document_id": "b"}),
        augmentation(0, 1).model_copy(update={"document_id": "c"}),
    ]
    write_records(tmp_path / "augmentations.jsonl", augmentations)
    return tmp_path / "augmentations.jsonl"


@pytest.mark.parametrize(
    ("limits", "num_prompts", "num_short"),
    [
        # Half of the pairs, rounded up, below 1 + rewrites texts; the others alone.
        ((None, None), [2 * 3 + 2, 1 * 2 + 1, 1], {}),
        ((0, None), [2 + 2, 1 + 1, 1], {}),
        ((1, 2), [2 + 1, 2 + 1, 1], {"rewrites": 1, "question-answer pairs": 1}),
        ((9, 1), [3, 2, 1], {"rewrites": 3}),
        ((None, 0), [3, 2, 1, 1], {}),
        ((1, 0), [2, 2, 1, 1], {"rewrites": 2}),
        ((0, 0), [1, 1, 1, 1], {}),
    ],
)
def test_no_more_of_an_augmentation_is_used_than_asked_for_and_what_is_short_is_counted(
    limits: tuple[int | None, int | None],
    num_prompts: list[int],
    num_short: dict[str, int],
    augmentations_file: Path,
) -> None:
    documents = {name: Document(id=name, text="text") for name in "abcd"}
    plan = plan_tasks(documents, augmentations(augmentations_file), AugmentationLimits(*limits))
    lengths = {task.document_id: len(task.prompts) for task in plan.tasks}
    assert [lengths[name] for name in sorted(lengths)] == num_prompts
    # Those of the most prompts come first.
    assert list(lengths.values()) == sorted(num_prompts, reverse=True)
    assert dict(+plan.num_short) == num_short
    # Document d has no augmentation; without pairs its text is enough.
    assert plan.rejected.keys() == (set() if limits[1] == 0 else {"d"})


def test_the_first_of_an_augmentation_are_used(augmentations_file: Path) -> None:
    limits = AugmentationLimits(num_rewrites=1, num_qas=1)
    (a, *_) = plan_tasks(
        {"a": Document(id="a", text="text")}, augmentations(augmentations_file), limits
    ).tasks
    assert [(p.question, p.passages[0]) for p in a.prompts] == [("q0", "text"), ("q0", "rewrite 0")]


def test_bare_documents_need_no_augmentations_file(tmp_path: Path) -> None:
    write_records(tmp_path / "documents.jsonl", [Document(id="a", text="text")])
    assert DocumentDataModule(str(tmp_path), num_rewrites=0, num_qas=0).plan.tasks
    with pytest.raises(FileNotFoundError, match=r"augmentations.jsonl: no such file"):
        assert DocumentDataModule(str(tmp_path), num_rewrites=1, num_qas=0).plan


def test_a_digest_stands_for_all_that_is_trained_on() -> None:
    def digest(text: str, num_rewrites: int, num_qas: int) -> str:
        document = DOCUMENT.model_copy(update={"text": text})
        prompts = document_prompts(document, augmentation(num_rewrites, num_qas))
        return EncodingTask("any", prompts).digest

    assert digest("text", 1, 3) == digest("text", 1, 3)
    others = [digest(*changed) for changed in (("Text", 1, 3), ("text", 2, 3), ("text", 1, 2))]
    assert len({digest("text", 1, 3), *others}) == 4


@pytest.mark.parametrize("num_prompts", [1, 4, 5, 7])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 9])
@pytest.mark.parametrize("passes", [1, 3])
def test_every_pass_goes_through_all_prompts_in_order_and_begins_a_batch(
    num_prompts: int, batch_size: int, passes: int
) -> None:
    work = task("d", num_prompts)
    batches = [
        [p for _, p in work.of_step(step, batch_size)]
        for step in range(work.num_steps(batch_size, passes))
    ]
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
    ids, num_user_tokens, _ = ENCODER.encode_training("q0", ("a",), "a0")
    assert published.parts[0].targets.tolist() == ids[1:]
    assert ours.parts[0].targets.tolist() == ids[num_user_tokens:]
    assert ENCODER.tokenizer.decode(ours.parts[0].targets[:-1].tolist()) == "The answer is a0."


def test_prompts_are_cut_to_the_longest_that_is_allowed() -> None:
    work = [EncodingTask("a", [TrainingPrompt("q", ("long text " * 200,), "a")])]
    assert steps(work)[0].num_tokens > 200
    assert 150 < steps(work, max_tokens=200)[0].num_tokens <= 200


def test_a_step_that_there_is_not_is_an_index_error() -> None:
    encoding = steps([task("a", 3)])
    assert len(encoding) == 3
    with pytest.raises(IndexError, match="3"):
        encoding[3]


@pytest.mark.parametrize(
    ("num_slots", "packed"),
    [
        (32, False),
        pytest.param(32, True, marks=pytest.mark.slow),
        pytest.param(4, False, marks=pytest.mark.slow),
    ],
)
def test_under_5_percent_of_what_is_read_of_real_documents_is_padding(
    num_slots: int, packed: bool
) -> None:
    if "PRAG_DATA" not in os.environ:
        pytest.skip("PRAG_DATA is not set: there are no real documents")
    data = DocumentDataModule(str(Path(os.environ["PRAG_DATA"]) / "squad_augmented"), packed=packed)
    data.setup("fit")
    encoding = data.encoding_steps(num_slots)
    batches = [encoding[index] for index in range(len(encoding))]
    num_read = sum(batch.num_places for batch in batches)
    num_tokens = sum(batch.num_tokens for batch in batches)
    in_one_part = sum(len(b.rows) * max(len(row.ids) for row in b.rows) for b in batches)
    assert (1 - num_tokens / num_read == 0) if packed else (0 < 1 - num_tokens / num_read < 0.05)
    assert all(batch.num_tokens > 0.95 * batch.num_places for batch in batches)
    # Without the parts it would be many times that.
    assert 1 - num_tokens / in_one_part > 0.2


def test_documents_of_as_many_prompts_stand_together_the_shortest_of_them_first(
    augmentations_file: Path,
) -> None:
    texts = {"a": "long text", "b": "t", "c": "t", "d": "longer text", "e": "text"}
    documents = {name: Document(id=name, text=text) for name, text in texts.items()}
    limits = AugmentationLimits(num_rewrites=0, num_qas=0)
    assert [
        t.document_id
        for t in plan_tasks(documents, augmentations(augmentations_file), limits).tasks
    ] == [
        *("b", "c"),
        *("e", "a", "d"),
    ]


def test_what_several_augmenters_made_of_a_document_is_put_together(tmp_path: Path) -> None:
    document = Document(id="d", title="Ada", text="text")
    first = augmentation(1, 2).model_copy(update={"text_digest": text_digest(document)})
    second = augmentation(2, 1)
    outdated = second.model_copy(update={"text_digest": "0" * 16})
    files = [tmp_path / name for name in ("first.jsonl", "second.jsonl", "outdated.jsonl")]
    for file, made in zip(files, (first, second, outdated), strict=True):
        write_records(file, [made])
    (task,) = DocumentDataModule([document], augmentations=files[:2], num_rewrites=2).plan.tasks
    rewrites = [*first.rewrites, *second.rewrites][:2]
    whole = Augmentation(document_id="d", rewrites=rewrites, qas=[*first.qas, *second.qas])
    assert list(task.prompts) == document_prompts(document, whole)
    assert len(task.prompts) > len(document_prompts(document, first))
    plan = DocumentDataModule([document], augmentations=[files[0], files[2]]).plan
    assert "edited since it was augmented" in plan.rejected["d"]


def test_unanswerable_questions_are_answered_by_not_knowing_where_they_are_asked_for() -> None:
    document = Document(id="ada", text="Ada was born in London.")
    pair = QuestionAnswer(question="Where was Ada born?", answer="London", full_answer="-")
    bare = Augmentation(document_id="ada", rewrites=[], qas=[pair])
    asked = ["How old is Ada?", "Who is Ada's friend?", "Why?"]
    augmentations = {"ada": bare.model_copy(update={"unanswerable": asked})}
    [task] = plan_tasks({document.id: document}, augmentations, num_unanswerable=2).tasks
    own = task.prompts[-2:]
    assert [(p.question, p.passages, p.answer) for p in own] == [
        (question, (), "unknown") for question in asked[:2]
    ]
    [without] = plan_tasks({document.id: document}, augmentations).tasks
    assert task.prompts[:-2] == without.prompts
    # An adapter that was trained on them is another one, and one that was not is the same.
    assert task.digest != without.digest
    assert without.digest == plan_tasks({document.id: document}, {"ada": bare}).tasks[0].digest
    plan = plan_tasks({document.id: document}, augmentations, num_unanswerable=4)
    assert plan.num_short["unanswerable questions"] == 1
    data = DocumentDataModule("demo", num_unanswerable=2)
    changed = data.training_settings().items() - DocumentDataModule().training_settings().items()
    assert changed == {("num_unanswerable", 2)}


def test_a_teacher_reads_no_passage_for_what_the_document_does_not_answer() -> None:
    document = Document(id="ada", text="Ada was born in London.")
    pair = QuestionAnswer(question="Where was Ada born?", answer="London", full_answer="-")
    made = Augmentation(
        document_id="ada", rewrites=[], qas=[pair], unanswerable=["How old is Ada?"]
    )
    tasks = plan_tasks({document.id: document}, {"ada": made}, num_unanswerable=1).tasks
    found = steps(tasks, 1, loss_on="answer", objective=Distill())
    last = found[len(found) - 1].rows[0]
    assert last.teacher_ids == last.ids
    first = ENCODER.encode_training(pair.question, (document.text,), pair.answer)
    assert found[0].rows[0].teacher_ids == first.ids
