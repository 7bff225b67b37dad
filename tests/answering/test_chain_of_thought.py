"""Chains of thought, from encoding to the answers that are cut out of them."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from prag_lightning import Answerer
from prag_lightning.adapters.bank import AdapterBank
from prag_lightning.adapters.layout import LoraConfig
from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.warm_start import random_adapter
from prag_lightning.answering.extraction import ANSWER_MARK, extract_strict
from prag_lightning.cli.main import main
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Augmentation, Document, read_records
from prag_lightning.encoding.plan import document_prompts
from prag_lightning.evaluation.scores import Prediction
from prag_lightning.language_model.prompts import PromptEncoder
from prag_lightning.language_model.templates import TEMPLATES, Exemplar
from tests.conftest import tiny_base, tiny_tokenizer
from tests.reference import encode_sequentially

FEW_SHOT = ["--data.template", "chain_of_thought", "--data.exemplars"]
WITHOUT_IN_TRAINING = ["--data.few_shot_in_training", "false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of two people, and exemplars."""
    path = tmp_path_factory.mktemp("world")
    write_world(path, num_people=2)
    (path / "shots.json").write_text(json.dumps([vars(EXEMPLAR)]))
    return path


EXEMPLAR = Exemplar("Where was Cy born?", "Cy was born in Lund. So the answer is Lund.")


def words(command: str, base_dir: Path, folder: Path, root: Path, *more: str) -> list[str]:
    return [
        *(command, "--trainer.accelerator", "cpu", "--trainer.default_root_dir", str(root)),
        *("--model.base", str(base_dir), "--model.num_slots", "2", "--model.lr", "0.003"),
        *("--model.max_new_tokens", "12", "--data.folder", str(folder)),
        *(*FEW_SHOT, str(folder / "shots.json"), *more),
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, base_dir: Path, folder: Path) -> Path:
    root = tmp_path_factory.mktemp("run")
    for command in ("fit", "test"):
        assert main(words(command, base_dir, folder, root, *WITHOUT_IN_TRAINING)) == 0
    return root


def reference(folder: Path, exemplars: tuple[Exemplar, ...]) -> list[Tensor]:
    """Return the documents' adapters by id, as PEFT and torch make them."""
    encoder = PromptEncoder(tiny_tokenizer(), TEMPLATES["chain_of_thought"], exemplars)
    documents = sorted(read_records(folder / "documents.jsonl", Document), key=lambda d: d.id)
    file = folder / "augmentations.jsonl"
    augmentations = {a.document_id: a for a in read_records(file, Augmentation)}
    prompts = [
        [
            encoder.encode_training(p.question, p.passages, p.answer, None, p.full_answer)[0]
            for p in document_prompts(document, augmentations[document.id])
        ]
        for document in documents
    ]
    config = LoraConfig()
    layout = AdapterBank(tiny_base(), config, 1).layout
    start = random_adapter(layout, seed=0)
    return encode_sequentially(tiny_base(), config, layout, start, prompts, 0.003)


def test_adapters_learn_full_answers_with_or_without_the_exemplars(
    run: Path, base_dir: Path, folder: Path, tmp_path: Path
) -> None:
    assert main(words("fit", base_dir, folder, tmp_path)) == 0
    stored: list[Tensor] = []
    for root in (run, tmp_path):
        with open_store(str(root / "adapters"), mode="read") as store:
            ids = sorted(store.ids())
            stored.append(store.get_many(ids))
    assert (stored[0] - stored[1]).abs().max() > 1e-3
    for rows, exemplars in zip(stored, ((), (EXEMPLAR,)), strict=True):
        for row, expected in zip(rows, reference(folder, exemplars), strict=True):
            torch.testing.assert_close(row, expected, rtol=0, atol=1e-5)


def test_answers_are_cut_out_of_the_chain_and_have_no_likelihood(run: Path) -> None:
    predictions = list(read_records(run / "predictions.jsonl", Prediction))
    assert predictions
    for prediction in predictions:
        assert prediction.answer_nll is None
        assert prediction.prediction == extract_strict(prediction.text, ANSWER_MARK)


def test_a_run_s_chain_of_thought_is_that_of_its_answerer(run: Path) -> None:
    predictions = read_records(run / "predictions.jsonl", Prediction)
    expected = {p.question: p.text for p in predictions if p.method == "prag"}
    answers = Answerer.from_run(run).answer(list(expected))
    assert {answer.question: answer.text for answer in answers} == expected


@pytest.mark.parametrize(
    "change",
    [["--data.few_shot_in_training", "true"], [*WITHOUT_IN_TRAINING, "--data.template", "t.yaml"]],
    ids=["exemplars", "template"],
)
def test_adapters_of_other_prompts_are_refused(
    run: Path,
    base_dir: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    change: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.yaml").write_text('{user: "{exemplars}{passages}{question}"}')
    store = ["--model.store", str(run / "adapters")]
    assert main(words("test", base_dir, folder, tmp_path, *store, *change)) == 2
    assert "prompt_version" in capfd.readouterr().err


def test_a_template_file_with_a_mistake_is_one_line(
    base_dir: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "t.yaml"
    file.write_text('{user: "{passages}"}')
    assert main(words("fit", base_dir, folder, tmp_path, "--data.template", str(file))) == 2
    error = capfd.readouterr().err.strip()
    assert "mind {question}" in error
    assert "\n" not in error
