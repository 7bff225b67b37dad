"""A batch of questions, each with its own merge, against one question at a time through PEFT."""

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.merge import ChangingRule, MergeRule, make_merge_rule
from prag_lightning.answering.batches import QuestionBatch
from prag_lightning.answering.generate import answer_questions
from prag_lightning.answering.merging import AdapterMerger, Merge, noise_like
from prag_lightning.answering.questions import QuestionBatches
from prag_lightning.documents.rankings import RetrievedDocument
from prag_lightning.documents.records import Document, Question
from prag_lightning.encoding.plan import EncodingTask
from prag_lightning.language_model.logits import CACHE
from prag_lightning.language_model.prompts import PromptEncoder
from tests.conftest import tiny_base, tiny_tokenizer
from tests.reference import peft_model

CONFIG = LoraConfig(rank=2, alpha=32)
NUM_NEW_TOKENS = 8
# Documents of each question, best first: some in several questions, one in none.
FOUND = ["ab", "bcd", "e", "", "fab", "db"]


class CountingStore:
    """Adapters in memory; keeps which were read."""

    def __init__(self, rows: dict[str, Tensor]) -> None:
        self.rows = rows
        self.reads: list[list[str]] = []
        self.digests: dict[str, str] = {}

    def __contains__(self, document_id: str) -> bool:
        return document_id in self.rows

    def text_digest(self, document_id: str) -> str | None:
        return self.digests.get(document_id, "0" * 16) if document_id in self else None

    def get_many(self, document_ids: Sequence[str]) -> Tensor:
        self.reads.append(list(document_ids))
        return torch.stack([self.rows[document_id] for document_id in document_ids])

    def mean(self) -> Tensor:
        return torch.stack(list(self.rows.values())).mean(0)


def question_batch(batch_size: int) -> list[QuestionBatch]:
    words = ["Who?", "Where was Ada born, in Paris or elsewhere?", "When was it?"] * 2
    questions = [Question(id=str(n), question=text) for n, text in enumerate(words)]
    found = {
        str(number): [RetrievedDocument(name, 3.0 - place) for place, name in enumerate(names)]
        for number, names in enumerate(FOUND)
    }
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    encoder = PromptEncoder(tokenizer)
    batches = QuestionBatches("prag", questions, found, {}, [], encoder, batch_size, 300)
    return [batches[number] for number in range(len(batches))]


def peft_answer(
    row: Tensor, start: Tensor, rows: dict[str, Tensor], rule: MergeRule, merge: Merge
) -> list[int]:
    """Greedy tokens of one prompt, its adapters merged by PEFT, or none."""
    base = tiny_base()
    model = peft_model(base, CONFIG)
    layout = AdapterBank(copy.deepcopy(base), CONFIG, 1).layout
    own = [rows[found.document_id] for found in merge.documents]
    merged = merge.weights
    if isinstance(rule, ChangingRule) and own:
        changed, merged = rule.change(torch.stack(own), merged, start, layout)
        own = list(changed)
    weights = [merged.warm_start, merged.mean, *merged.documents]
    parts = [start, torch.stack(list(rows.values())).mean(0), *own]
    adapters = {f"adapter{n}": part for n, part in enumerate(parts)}
    if not merge.documents:
        model.disable_adapter_layers()
    else:
        for name, part in adapters.items():
            model.add_adapter(name, model.peft_config["default"])
            for key, matrix in layout.split(part).items():
                key = key.replace(".weight", f".{name}.weight")
                model.get_parameter(key).data.copy_(matrix)
        model.add_weighted_adapter(list(adapters), weights, "merged", combination_type="cat")
        model.set_adapter("merged")
    ids: Tensor = cast(Any, model).generate(
        input_ids=row[None],
        attention_mask=torch.ones_like(row)[None],
        max_new_tokens=NUM_NEW_TOKENS,
        do_sample=False,
        pad_token_id=tiny_tokenizer().pad_token_id,
        # Both end an answer: the model's own token, and the tokenizer's.
        eos_token_id=[
            cast(Any, base).generation_config.eos_token_id,
            tiny_tokenizer().eos_token_id,
        ],
    )
    return ids[0, len(row) :].tolist()


@torch.no_grad()
@pytest.mark.parametrize(
    "spec",
    ["anchored", "sum", {"score": {"temperature": 2.0}}, "centered", "ties", "projection"],
    ids=str,
)
def test_a_batch_gets_the_tokens_that_each_question_gets_through_peft(spec: object) -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    bank = AdapterBank(base, CONFIG, 1)
    generator = torch.Generator().manual_seed(0)
    start, *others = torch.randn(7, bank.layout.num_params, generator=generator) * 0.1
    rows = dict(zip("abcdef", others, strict=True))
    store = CountingStore(rows)
    rule = make_merge_rule(spec)
    merger = AdapterMerger(bank.layout, store, start, rule, {})
    (batch,) = question_batch(6)
    merges = [merger.choose(found) for found in batch.adapters]
    route = merger.route(merges)
    assert route is not None
    with bank.routed(route):
        answers = answer_questions(base, tokenizer, batch, NUM_NEW_TOKENS).texts
    # The bank's own slots are left alone.
    assert not bank.weight.any()
    # Every adapter of the batch is read once, though some are in several questions.
    assert store.reads == [list("abcdef")]
    expected = []
    for ids, mask, merge in zip(batch.input_ids, batch.attention_mask, merges, strict=True):
        tokens = peft_answer(ids[mask.bool()], start, rows, rule, merge)
        expected.append(tokenizer.decode(tokens, skip_special_tokens=True))
    assert answers == expected
    plain = answer_questions(base, tokenizer, batch, NUM_NEW_TOKENS).texts
    differs = [answer != other for answer, other in zip(answers, plain, strict=True)]
    # Adapters have their say wherever there are any.
    assert differs == [bool(merge.documents) for merge in merges]


@torch.no_grad()
def test_answers_do_not_depend_on_the_questions_beside_them() -> None:
    base, tokenizer = tiny_base(), tiny_tokenizer()
    bank = AdapterBank(base, CONFIG, 1)
    generator = torch.Generator().manual_seed(0)
    start, *others = torch.randn(7, bank.layout.num_params, generator=generator) * 0.1
    store = CountingStore(dict(zip("abcdef", others, strict=True)))
    merger = AdapterMerger(bank.layout, store, start, make_merge_rule("anchored"), {})
    answers: list[dict[str, str]] = []
    for batch_size in (1, 4, 6):
        answers.append({})
        for batch in question_batch(batch_size):
            route = merger.route([merger.choose(found) for found in batch.adapters])
            with bank.routed(route) if route else nullcontext():
                texts = answer_questions(base, tokenizer, batch, NUM_NEW_TOKENS).texts
            answers[-1].update(zip((q.id for q in batch.questions), texts, strict=True))
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0].values())) > 3


@torch.no_grad()
def test_adapters_can_be_in_the_weights_only_while_it_answers() -> None:
    """Against the base written out: the prompt's cache without adapters, the rest with them."""
    base, tokenizer = tiny_base(), tiny_tokenizer()
    bank = AdapterBank(base, CONFIG, 1)
    generator = torch.Generator().manual_seed(0)
    start, *others = torch.randn(7, bank.layout.num_params, generator=generator) * 0.1
    store = CountingStore(dict(zip("abcdef", others, strict=True)))
    (batch,) = question_batch(6)
    merger = AdapterMerger(bank.layout, store, start, make_merge_rule("anchored"), {})
    route = merger.route(merger.choose_all(batch))
    assert route is not None
    with bank.routed(route):
        late = answer_questions(
            base, tokenizer, batch, NUM_NEW_TOKENS, while_reading=bank.paused()
        ).texts
        always = answer_questions(base, tokenizer, batch, NUM_NEW_TOKENS).texts
    assert late != always
    for number, said in enumerate(late):
        prompt = batch.input_ids[number][batch.attention_mask[number].bool()][None]
        cache = DynamicCache(config=base.config)
        base(input_ids=prompt[:, :-1], use_cache=True, **{CACHE: cache})
        token, tokens = prompt[:, -1:], list[int]()
        with bank.routed(route.of_rows([number])):
            for _ in range(NUM_NEW_TOKENS):
                token = base(input_ids=token, **{CACHE: cache}).logits[:, -1:].argmax(-1)
                tokens.append(int(token))
        whole = str(tokenizer.decode(tokens, skip_special_tokens=True))
        assert said
        assert whole.startswith(said)


@torch.no_grad()
def test_the_warm_start_alone_is_in_the_weights_of_a_batch_that_asks_for_it() -> None:
    bank = AdapterBank(tiny_base(), CONFIG, 1)
    start = torch.randn(bank.layout.num_params, generator=torch.Generator().manual_seed(0))
    merger = AdapterMerger(bank.layout, None, start, make_merge_rule("centered"), {})
    (batch,) = question_batch(6)
    batch = replace(batch, adapters=[[] for _ in batch.adapters])
    assert merger.route(merger.choose_all(batch)) is None
    route = merger.route(merger.choose_all(replace(batch, warm_start_only=True)))
    assert route is not None
    assert route.adapters is not None
    assert route.weights is not None
    assert torch.equal(route.adapters, start[None])
    assert torch.equal(route.weights, torch.ones(6, 1))
    assert not route.slots.any()


def test_an_adapter_of_a_text_that_has_changed_since_is_as_good_as_missing() -> None:
    old, new = Document(id="a", text="Ada lives."), Document(id="a", text="Ada has died.")
    digest = EncodingTask("a", (), old.text).digest
    store = CountingStore({"a": torch.zeros(3)})
    store.digests = {"a": digest}
    layout = AdapterBank(tiny_base(), CONFIG, 1).layout
    found = [RetrievedDocument("a", 1.0)]
    for document, missing in ((old, []), (new, found)):
        rule = make_merge_rule("sum")
        merger = AdapterMerger(layout, store, torch.zeros(3), rule, {"a": document})
        assert merger.choose(found).missing == missing


def test_a_document_s_noise_depends_on_no_other_and_has_the_size_of_its_adapter() -> None:
    layout = AdapterBank(tiny_base(), CONFIG, 1).layout
    adapters = torch.randn(2, layout.num_params)
    both = noise_like(adapters, layout, ["a", "b"])
    assert torch.equal(noise_like(adapters[1:], layout, ["b"])[0], both[1])
    assert not torch.equal(both[0], both[1])
    for matrix in layout.matrices:
        part = slice(matrix.start, matrix.stop)
        torch.testing.assert_close(both[:, part].norm(dim=1), adapters[:, part].norm(dim=1))
