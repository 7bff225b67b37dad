"""Objectives against a loop of PEFT and torch, and what the teacher reads."""

import copy
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.optimizer import StackedAdamW
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.records import Augmentation, Document, QuestionAnswer
from prag_lightning.encoding import teacher
from prag_lightning.encoding.objectives import Distill, LossTokens, NextToken, Objective
from prag_lightning.encoding.plan import EncodingSteps
from prag_lightning.encoding.planning import plan_tasks
from prag_lightning.encoding.slot_trainer import SlotTrainer
from prag_lightning.language_model.attention import SEGMENTED
from prag_lightning.language_model.logits import Head, last_hidden_states
from prag_lightning.language_model.prompts import PromptEncoder
from tests.conftest import tiny_base, tiny_tokenizer
from tests.encoding.test_slot_trainer import warm_start
from tests.reference import lora_parameters, peft_model, set_adapter

LORA = LoraConfig(rank=2, alpha=32)
ENCODER = PromptEncoder(tiny_tokenizer())
LR, PASSES, NUM_SLOTS = 3e-4, 2, 3


def plan(
    objective: Objective, num_slots: int = NUM_SLOTS, packed: bool = True, num_strangers: int = 0
) -> EncodingSteps:
    """The steps of four documents, of unequal lengths and numbers of pairs."""
    documents = [Document(id=f"d{n}", text="a text about it " * (n + 1)) for n in range(4)]
    augmentations = {
        document.id: Augmentation(
            document_id=document.id,
            rewrites=["it, in other words"],
            qas=[
                QuestionAnswer(question=f"q {n} of {place}", answer=f"{n} {place}", full_answer="-")
                for n in range(2 + place % 2)
            ],
        )
        for place, document in enumerate(documents)
    }
    tasks = plan_tasks(
        {document.id: document for document in documents},
        augmentations,
        passage_in_prompt="never",
        num_strangers_questions=num_strangers,
    ).tasks
    return EncodingSteps(
        tasks, num_slots, ENCODER, passes=PASSES, loss_on="answer", objective=objective,
        packed=packed,
    )  # fmt: skip


def encode(base: PreTrainedModel, steps: EncodingSteps) -> dict[str, Tensor]:
    """Return each document's adapter, float64."""
    base = copy.deepcopy(base)
    base.set_attn_implementation(SEGMENTED)
    bank = AdapterBank(base, LORA, NUM_SLOTS, torch.float64)
    trainer, optimizer = SlotTrainer(base, bank), StackedAdamW(bank.weight, lr=LR)
    rows = {}
    for batch in map(steps.__getitem__, range(len(steps))):
        trainer.start(batch.begins, warm_start(bank.layout, torch.float64), optimizer)
        trainer.step(batch, optimizer)
        for slot, name in batch.ends.items():
            rows[name] = bank.weight.detach()[slot].clone()
    return rows


def expected_row(base: PreTrainedModel, steps: EncodingSteps, place: int, **loss: Any) -> Tensor:
    """Return one document's adapter as PEFT and torch make it, reading the teacher each time."""
    task = steps.tasks[place]
    layout = AdapterBank(copy.deepcopy(base), LORA, 1).layout
    model = peft_model(base, LORA).to(torch.float64)
    set_adapter(model, layout, warm_start(layout, torch.float64))
    parameters = lora_parameters(model)
    optimizer = torch.optim.AdamW(parameters.values(), lr=LR, foreach=False)
    for prompt in [*task.prompts] * PASSES:
        ids = ENCODER.encode_training(prompt.question, (), prompt.answer)
        passages = () if prompt.is_strangers else (task.text,)
        read = ENCODER.encode_training(prompt.question, passages, prompt.answer)
        with torch.no_grad():
            wanted = answer_outputs(base, read.ids, read.num_user_tokens)
        outputs = answer_outputs(model, ids.ids, ids.num_user_tokens)
        mean_loss(outputs, wanted, ids.ids[ids.num_user_tokens :], **loss).backward()
        optimizer.step()
        optimizer.zero_grad()
    return layout.join({k: p.detach() for k, p in parameters.items()}, "reference")


def answer_outputs(model: Any, ids: Sequence[int], start: int) -> list[Tensor]:
    """The logits of an answer's tokens, and what goes into the second block and into the norm."""
    decoder = (model if isinstance(model, PreTrainedModel) else model.base_model.model).model
    taken: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
        for module in (decoder.layers[1], decoder.norm)
    ]
    logits = model(input_ids=torch.tensor([ids])).logits
    for hook in hooks:
        hook.remove()
    return [states[0, start - 1 : -1] for states in (logits, *taken)]


def mean_loss(
    outputs: list[Tensor],
    wanted: list[Tensor],
    answer: list[int],
    weight: float = 1.0,
    temperature: float = 1.0,
    top_k: int | None = None,
    hidden_weight: float = 0.0,
    blocks: Sequence[int] = (0, 1),
) -> Tensor:
    logits = outputs[0]
    p = (wanted[0] / temperature).softmax(-1)
    if top_k is not None:
        kept = torch.zeros_like(p).scatter_(1, p.topk(top_k).indices, 1.0)
        p = p * kept / (p * kept).sum(-1, keepdim=True)
    divergence = torch.nn.functional.kl_div(
        (logits / temperature).log_softmax(-1), p, reduction="batchmean"
    )
    nll = torch.nn.functional.cross_entropy(logits, torch.tensor(answer))
    loss = weight * temperature**2 * divergence + (1 - weight) * nll
    for block in blocks:
        for state, aim in zip(outputs[1 + block], wanted[1 + block], strict=True):
            relative = (state - aim).abs().sum() / aim.abs().sum()
            loss = loss + hidden_weight * relative / len(blocks) / len(answer)
    return loss


_PLAIN: list[dict[str, Any]] = [
    {},
    {"temperature": 2.0},
    {"weight": 0.3},
    {"weight": 0.5, "temperature": 1.5, "top_k": 7},
]


@pytest.mark.parametrize(
    ("settings", "packed"),
    [
        *product(_PLAIN, (True, False)),
        ({"hidden_weight": 0.7}, True),
        ({"weight": 0.5, "hidden_weight": 2.0, "blocks": (0,)}, False),
    ],
    ids=str,
)
def test_distilling_in_slots_equals_a_loop_of_peft_in_float64(
    settings: dict[str, Any], packed: bool
) -> None:
    base = tiny_base(dtype=torch.float64)
    steps = plan(Distill(**settings), packed=packed)
    found = encode(base, steps)
    assert len(found) == 4
    for place, task in enumerate(steps.tasks):
        expected = expected_row(base, steps, place, **settings)
        assert (found[task.document_id] - expected).abs().max() < 1e-9
    other = NextToken() if not settings.get("hidden_weight") else Distill(settings.get("weight", 1))
    without = encode(base, plan(other, packed=packed))
    assert (found["d0"] - without["d0"]).abs().max() > 1e-5


def test_to_strangers_questions_documents_learn_to_say_what_the_base_says() -> None:
    base = tiny_base(dtype=torch.float64)
    steps = plan(Distill(), num_strangers=2)
    found = encode(base, steps)
    for place, task in enumerate(steps.tasks):
        theirs = [prompt for prompt in task.prompts if prompt.is_strangers]
        assert len(theirs) == 2
        # The last word of every question names the document that it is about.
        own = {prompt.question for prompt in task.prompts if not prompt.is_strangers}
        assert not own & {prompt.question for prompt in theirs}
        expected = expected_row(base, steps, place)
        assert (found[task.document_id] - expected).abs().max() < 1e-9
    without = plan(Distill())
    assert (found["d0"] - encode(base, without)["d0"]).abs().max() > 1e-5
    # A document is not encoded anew because there are other strangers.
    assert [task.digest for task in steps.tasks] == [task.digest for task in without.tasks]


def test_the_teacher_reads_each_prompt_once_and_with_the_document_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[list[int]] = []

    def counted(base: Any, input_ids: Tensor, *rest: Any) -> Tensor:
        reads.append(input_ids.flatten().tolist())
        return last_hidden_states(base, input_ids, *rest)

    monkeypatch.setattr(teacher, "last_hidden_states", counted)
    steps = plan(Distill(), num_slots=1)
    encode(tiny_base(dtype=torch.float64), steps)
    expected = [
        ENCODER.encode_training(prompt.question, (task.text,), prompt.answer).ids
        for task in steps.tasks
        for prompt in task.prompts
    ]
    assert reads == expected
    assert len(steps) == PASSES * len(expected)


def test_where_the_student_says_what_the_teacher_says_nothing_is_learned() -> None:
    hidden = torch.randn(5, 8, requires_grad=True)
    head = torch.randn(30, 8)
    tokens = LossTokens(hidden, Head(head), torch.arange(5), hidden.detach())
    losses = Distill().losses(tokens)
    losses.sum().backward()
    assert hidden.grad is not None
    assert losses.abs().max() < 1e-6
    assert hidden.grad.abs().max() < 1e-6
    assert NextToken().losses(tokens).min() > 1e-3


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"loss_on": "prompt_and_answer"}, "leave loss_on out"),
        ({"num_qas": 0}, "next_token"),
        ({"passage_in_prompt": "apart"}, "next_token"),
        ({"objective": "next_token", "num_strangers_questions": 2}, "take distill"),
        ({"warm_up": "pairs.jsonl"}, "next_token"),
        ({"objective": "destill"}, "did you mean 'distill'"),
        ({"objective": {"distill": {"weight": 0}}}, "weight"),
        ({"objective": {"distill": {"weight": 1.5}}}, "at most 1"),
        ({"objective": {"distill": {"hidden_weight": -1}}}, "hidden_weight"),
        ({"objective": {"distill": {"blocks": [0]}}}, "a weight above 0, or neither"),
        ({"objective": {"distill": {"hidden_weight": 1, "blocks": []}}}, "or neither"),
        ({"objective": {"distill": {"temperatur": 2}}}, "temperatur"),
    ],
    ids=str,
)
def test_what_a_teacher_cannot_teach_is_refused_in_one_line(
    settings: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValueError, match=word) as refusal:
        DocumentDataModule(**{"objective": "distill", **settings})
    assert "\n" not in str(refusal.value)


def test_what_is_not_as_published_is_in_the_recipe_and_nothing_else() -> None:
    published = DocumentDataModule().training_settings()
    assert "objective" not in published
    assert "passage_in_prompt" not in published
    data = DocumentDataModule(objective={"distill": {"temperature": 2}}, passage_in_prompt="never")
    changed = {k: v for k, v in data.training_settings().items() if published.get(k) != v}
    deep = DocumentDataModule(objective={"distill": {"hidden_weight": 1, "blocks": [0]}})
    assert deep.training_settings()["objective"] == (
        "Distill(blocks=(0,), hidden_weight=1.0, temperature=1.0, top_k=None, weight=1.0)"
    )
    assert changed == {
        "loss_on": "answer",
        "objective": "Distill(temperature=2.0, top_k=None, weight=1.0)",
        "passage_in_prompt": "never",
    }  # fmt: skip


def test_only_the_tokens_of_answers_are_kept_of_the_teacher_s_blocks() -> None:
    base = tiny_base(dtype=torch.float64)
    base.set_attn_implementation(SEGMENTED)
    steps = plan(Distill(hidden_weight=1.0), num_slots=1)
    read = teacher.Teacher(base)
    read.read(steps[0])
    (row,) = steps[0].rows
    num_answer_tokens = len(row.ids) - row.loss_start
    assert row.teacher_ids is not None
    assert num_answer_tokens < len(row.teacher_ids) / 2
    states = read.states([row])
    assert [state.shape for state in states] == [(num_answer_tokens, 32)] * 3
    assert all(state.untyped_storage().nbytes() == state.nbytes for state in states)


def test_a_block_that_is_not_there_and_compiled_code_are_refused() -> None:
    base = tiny_base()
    bank = AdapterBank(base, LORA, NUM_SLOTS)
    steps = plan(Distill(hidden_weight=1.0, blocks=(2,)), packed=False)
    trainer, optimizer = SlotTrainer(base, bank), StackedAdamW(bank.weight)
    with pytest.raises(ValueError, match="no decoder block 2; the base has 2"):
        trainer.step(steps[0], optimizer)
    trainer = SlotTrainer(base, bank, compile=True)
    with pytest.raises(ValueError, match=r"model\.compile is on, but the objective compares"):
        trainer.part_losses(steps[0].parts[0], steps[0].loss_counts, steps.objective)
