"""Module, data module and callbacks put together in Python, as Lightning users do."""

import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

import prag_lightning
from prag_lightning import (
    AdapterWriter,
    Answerer,
    Document,
    DocumentDataModule,
    EncodingLog,
    LoraConfig,
    MergedEvaluation,
    ParametricRAG,
    PromptTemplate,
    Question,
    SlotFinder,
    WarmStart,
    open_store,
)
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import read_records
from prag_lightning.language_model.base_model import load_base, load_tokenizer

NUM_PEOPLE = 4
QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "max_epochs": 1,
    "log_every_n_steps": 10,
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
# Of each document, where it does not matter what is learned.
FEW: dict[str, Any] = {"num_rewrites": 0, "num_qas": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, num_people=NUM_PEOPLE)
    return folder


def documents(world: Path) -> list[Document]:
    return list(read_records(world / "documents.jsonl", Document))


def questions(world: Path) -> list[Question]:
    return list(read_records(world / "questions.jsonl", Question))


class Encoded:
    """A module and a data module after ``fit`` and ``test``."""

    def __init__(self, world: Path, root: Path) -> None:
        self.root, self.store = root, root / "store"
        self.data = DocumentDataModule(
            iter(documents(world)),
            augmentations=world / "augmentations.jsonl",
            questions=questions(world),
            passes=2,
        )
        self.module = ParametricRAG("demo", LoraConfig(rank=8), lr=1.5e-3, max_new_tokens=8)
        self.trainer = L.Trainer(
            **{**QUIET, "logger": CSVLogger(root)},
            default_root_dir=root,
            callbacks=[WarmStart(), AdapterWriter(str(self.store)), MergedEvaluation()],
        )
        self.trainer.fit(self.module, self.data)
        self.results = self.trainer.test(self.module, self.data, verbose=False)


@pytest.fixture(scope="module")
def encoded(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    return Encoded(world, tmp_path_factory.mktemp("run"))


def test_documents_as_objects_are_encoded_and_known(encoded: Encoded) -> None:
    by_method = {next(iter(scores)).partition("/")[0]: scores for scores in encoded.results}
    assert by_method["closed_book"]["closed_book/one_hop/em"] < 0.2
    assert by_method["own"]["own/one_hop/em"] > 0.8
    assert by_method["prag"]["prag/one_hop/em"] > by_method["other"]["other/one_hop/em"] + 0.5


def test_what_test_returns_is_what_is_written_logged_and_kept(encoded: Encoded) -> None:
    returned = {name: value for scores in encoded.results for name, value in scores.items()}
    rows = json.loads((encoded.root / "scores.json").read_text())
    assert len(rows) > 8
    for row in rows:
        kind = "" if row["type"] == "all" else f"{row['type']}/"
        for name, key in (("em", "em"), ("f1", "f1"), ("nll", "answer_nll")):
            assert returned[f"{row['method']}/{kind}{name}"] == pytest.approx(row[key], abs=1e-6)
    kept = encoded.trainer.callback_metrics
    assert {name: value.item() for name, value in kept.items() if name in returned} == returned
    (file,) = encoded.root.rglob("metrics.csv")
    assert "prag/one_hop/em" in file.read_text()


def test_an_answerer_of_the_same_parts_says_what_test_said(encoded: Encoded, world: Path) -> None:
    answerer = Answerer(encoded.module, encoded.store, encoded.data, device="cpu")
    answers = answerer.answer([question.question for question in questions(world)])
    said = {
        row["question"]: row["text"]
        for line in (encoded.root / "predictions.jsonl").read_text().splitlines()
        if (row := json.loads(line))["method"] == "prag"
    }
    assert {answer.question: answer.text for answer in answers} == said
    best = answers[0].adapters[0]
    assert str(answers[0]).startswith(f"{answers[0].prediction} [{best.document_id} x 1")


def test_threads_that_share_an_answerer_get_the_answers_that_each_gets_alone(
    encoded: Encoded, world: Path
) -> None:
    answerer = Answerer(encoded.module, encoded.store, encoded.data, device="cpu")
    asked = [(q.question, method) for q in questions(world)[:6] for method in ("prag", "rag")]
    alone = [answerer.answer([text], method)[0] for text, method in asked]  # type: ignore[arg-type]
    together = threading.Barrier(8)

    def ask(number: int) -> list[Any]:
        together.wait()
        mine = asked[number:] + asked[:number]
        found = [answerer.answer([text], method)[0] for text, method in mine]  # type: ignore[arg-type]
        return found[len(asked) - number :] + found[: len(asked) - number]

    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(ask, range(8)):
            assert [a.text for a in found] == [a.text for a in alone]
            assert [a.adapters for a in found] == [a.adapters for a in alone]
            assert [a.question for a in found] == [a.question for a in alone]


def test_one_bad_question_among_those_of_other_threads_is_an_error_of_its_own(
    encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    answerer = Answerer(encoded.module, encoded.store, encoded.data, device="cpu")
    retrieve = answerer._retrieve

    def fail(asked: Any) -> Any:
        if any("bad" in question.question for question in asked):
            raise ValueError("a bad question")
        return retrieve(asked)

    monkeypatch.setattr(answerer, "_retrieve", fail)

    def ask(text: str) -> str:
        try:
            return answerer.answer([text])[0].question
        except ValueError as error:
            return str(error)

    texts = ["Who?", "bad", "Where?", "When?"] * 4
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, texts))
    assert found == [text.replace("bad", "a bad question") for text in texts]


def test_an_exception_in_a_batch_leaves_nothing_in_the_model_or_open(
    encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = MergedEvaluation()
    trainer = L.Trainer(**QUIET, default_root_dir=encoded.root, callbacks=[evaluation])
    monkeypatch.setattr("prag_lightning.callbacks.merged_evaluation.score_answer", None)
    with pytest.raises(TypeError):
        trainer.test(encoded.module, encoded.data, verbose=False)
    assert evaluation._store is None
    base = encoded.module.base
    assert base is not None
    ids = torch.arange(9)[None]
    with torch.no_grad():
        expected = load_base("demo")(input_ids=ids).logits
        torch.testing.assert_close(base(input_ids=ids).logits, expected)


def test_test_needs_neither_the_passes_nor_the_rate_of_fit(encoded: Encoded, world: Path) -> None:
    module = ParametricRAG("demo", LoraConfig(rank=8), max_new_tokens=8, store=str(encoded.store))
    data = DocumentDataModule(world, methods="own")
    trainer = L.Trainer(
        **QUIET, default_root_dir=encoded.root / "x", callbacks=[MergedEvaluation()]
    )
    (scores,) = trainer.test(module, data, verbose=False)
    by_method = {name: value for result in encoded.results for name, value in result.items()}
    assert scores["own/em"] == pytest.approx(by_method["own/em"])


def test_a_plain_fit_trains_real_adapters_and_says_that_nothing_saves_them(
    world: Path, tmp_path: Path
) -> None:
    module = ParametricRAG("demo", lr=2e-3, num_slots=8)
    data = DocumentDataModule(world, **FEW)
    with pytest.warns(UserWarning, match="nothing saves them; add the callback AdapterWriter"):
        L.Trainer(**QUIET, default_root_dir=tmp_path).fit(module, data)
    changes = (module.bank.weight - module.warm_start_row()).abs().amax(dim=1)
    assert (changes[:NUM_PEOPLE] > 1e-3).all()


def test_methods_that_need_adapters_are_not_answered_without_any(
    world: Path, tmp_path: Path
) -> None:
    trainer = L.Trainer(**QUIET, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match=r"'prag' needs adapters; add .* MergedEvaluation"):
        trainer.test(ParametricRAG("demo"), DocumentDataModule(world, methods=["prag"]))


def test_a_loader_instead_of_a_data_module_trains_and_a_writer_says_what_it_needs(
    world: Path, tmp_path: Path
) -> None:
    loader = DocumentDataModule(world, **FEW).train_dataloader()
    assert isinstance(loader, DataLoader)
    module = ParametricRAG("demo", lr=2e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        L.Trainer(**QUIET, default_root_dir=tmp_path).fit(module, loader)
    assert (module.bank.weight - module.warm_start_row()).abs().amax() > 1e-3
    trainer = L.Trainer(**QUIET, default_root_dir=tmp_path, callbacks=[AdapterWriter()])
    with pytest.raises(ValueError, match="AdapterWriter needs a DocumentDataModule"):
        trainer.fit(ParametricRAG("demo"), loader)


def test_slots_that_do_not_fit_are_refused_in_words(world: Path, tmp_path: Path) -> None:
    trainer = L.Trainer(**QUIET, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match=r"for 4 slots, .* give the data module num_slots=2"):
        trainer.fit(ParametricRAG("demo", num_slots=2), DocumentDataModule(world))


def test_a_slot_finder_hands_the_module_s_number_to_the_data_module(
    world: Path, tmp_path: Path
) -> None:
    module, data = ParametricRAG("demo", num_slots=2), DocumentDataModule(world, **FEW)
    callbacks = [AdapterWriter(str(tmp_path / "store")), SlotFinder()]
    L.Trainer(**QUIET, default_root_dir=tmp_path, callbacks=callbacks).fit(module, data)
    assert (module.bank.num_slots, data.num_slots) == (2, 2)
    with open_store(tmp_path / "store", mode="read") as store:
        assert len(store) == NUM_PEOPLE


@pytest.mark.parametrize("max_epochs", [3, -1])
def test_more_epochs_than_one_are_refused(world: Path, tmp_path: Path, max_epochs: int) -> None:
    trainer = L.Trainer(**{**QUIET, "max_epochs": max_epochs}, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match=r"max_epochs is -?\d, .*; set data.passes"):
        trainer.fit(ParametricRAG("demo"), DocumentDataModule(world))


@pytest.mark.filterwarnings("ignore:.max_epochs. was not set:UserWarning")
def test_a_fit_that_nobody_limits_ends_after_the_last_document(world: Path, tmp_path: Path) -> None:
    trainer = L.Trainer(
        **{**QUIET, "max_epochs": None},
        default_root_dir=tmp_path,
        callbacks=[AdapterWriter(), EncodingLog()],
    )
    data = DocumentDataModule(world, **FEW)
    trainer.fit(ParametricRAG("demo"), data)
    assert trainer.current_epoch == 1
    assert trainer.global_step == len(data.encoding_steps(8)) or data.encoding_steps(8).tasks == []
    assert trainer.callback_metrics["documents"] == NUM_PEOPLE


def test_an_optimizer_that_knows_no_slots_is_refused(world: Path, tmp_path: Path) -> None:
    class Own(ParametricRAG):
        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.bank.parameters(), lr=0.1)

    trainer = L.Trainer(**QUIET, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match="the optimizer is SGD, which knows nothing of slots"):
        trainer.fit(Own("demo"), DocumentDataModule(world))


def test_a_loaded_model_and_its_tokenizer_are_a_base(world: Path, tmp_path: Path) -> None:
    model, tokenizer = load_base("demo"), load_tokenizer("demo")
    with pytest.raises(ValueError, match="give it, too: ParametricRAG"):
        ParametricRAG(model)
    module = ParametricRAG(model, tokenizer=tokenizer)
    data = DocumentDataModule(
        world, base=tokenizer, methods="own", template=PromptTemplate(), limit=4, **FEW
    )
    trainer = L.Trainer(
        **QUIET,
        default_root_dir=tmp_path,
        callbacks=[AdapterWriter(), MergedEvaluation()],
    )
    trainer.fit(module, data)
    assert module.base is model
    assert trainer.test(module, data, verbose=False)[0]["own/nll"] > 0


def test_a_data_module_for_another_base_is_refused(
    world: Path, base_dir: Path, tmp_path: Path
) -> None:
    trainer = L.Trainer(**QUIET, default_root_dir=tmp_path, callbacks=[AdapterWriter()])
    with pytest.raises(ValueError, match="prompts for another base than 'demo'; give Document"):
        trainer.fit(ParametricRAG("demo"), DocumentDataModule(world, base=str(base_dir)))


def test_validation_questions_are_scored_while_documents_are_encoded(tmp_path: Path) -> None:
    world = tmp_path / "world"
    write_world(world, num_people=2)
    scores: list[dict[str, float]] = []

    class Watch(L.Callback):
        def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            values = {k: float(v) for k, v in trainer.callback_metrics.items() if "val/" in k}
            scores.append(values)

    data = DocumentDataModule(
        world,
        validation_questions=questions(world),
        methods="own",
        passes=2,
        num_slots=1,
    )
    module = ParametricRAG("demo", LoraConfig(rank=8), lr=1.5e-3, max_new_tokens=8)
    steps = len(data.encoding_steps(1))
    trainer = L.Trainer(
        **QUIET,
        default_root_dir=tmp_path,
        val_check_interval=steps // 2,
        num_sanity_val_steps=0,
        callbacks=[AdapterWriter(), MergedEvaluation(), Watch()],
    )
    trainer.fit(module, data)
    assert trainer.callback_metrics["val/own/one_hop/em"] > 0.8
    plain = ParametricRAG("demo", LoraConfig(rank=8), lr=1.5e-3)
    other = L.Trainer(**QUIET, default_root_dir=tmp_path / "o", callbacks=[AdapterWriter()])
    other.fit(plain, DocumentDataModule(world, passes=2, num_slots=1))
    # To look on changes no adapter.
    ids = [document.id for document in documents(world)]
    with (
        open_store(tmp_path / "adapters", mode="read") as watched,
        open_store(tmp_path / "o" / "adapters", mode="read") as alone,
    ):
        assert torch.equal(watched.get_many(ids), alone.get_many(ids))
    (result,) = trainer.validate(module, data, verbose=False)
    assert result["val/own/one_hop/em"] > 0.8


def test_results_are_not_overwritten_by_smaller_or_other_ones(
    encoded: Encoded, world: Path, tmp_path: Path
) -> None:
    def test(methods: str, **settings: Any) -> None:
        module = ParametricRAG("demo", LoraConfig(rank=8), store=str(encoded.store))
        L.Trainer(
            **QUIET, default_root_dir=tmp_path, callbacks=[MergedEvaluation()], **settings
        ).test(module, DocumentDataModule(world, methods=methods), verbose=False)

    def rows(file: Path) -> int:
        return len(file.read_text().splitlines())

    test("closed_book,own")
    whole = rows(tmp_path / "predictions.jsonl")
    test("closed_book,own", limit_test_batches=1)
    assert rows(tmp_path / "predictions.jsonl") == whole
    test("closed_book")
    assert rows(tmp_path / "predictions.jsonl") == whole // 2
    (earlier,) = (tmp_path / "earlier").iterdir()
    assert rows(earlier / "predictions.jsonl") == whole
    assert (earlier / "scores.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folder": []}, "there are no documents"),
        ({"folder": ["text"]}, "number 1 of the documents is a str, not a Document"),
    ],
)
def test_what_is_no_document_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DocumentDataModule(**arguments).source.open_documents()


@pytest.mark.parametrize("methods", ["prga", ["prag", "prag"], ""])
def test_what_is_no_list_of_methods_is_refused(methods: Any) -> None:
    with pytest.raises(
        ValueError, match=r"there is no method 'prga'; choose|name each of them onc|''"
    ):
        DocumentDataModule("demo", methods=methods)


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    assert 15 <= len(prag_lightning.__all__) <= 25
    for name in prag_lightning.__all__:
        assert getattr(prag_lightning, name).__doc__
    assert set(prag_lightning.__all__) <= set(dir(prag_lightning))
