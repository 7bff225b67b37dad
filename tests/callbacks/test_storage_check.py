"""What `fit` says of the knowledge that was stored."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from prag_lightning import AdapterWriter, DocumentDataModule, LoraConfig, ParametricRAG, open_store
from prag_lightning.callbacks import StorageCheck
from prag_lightning.demo.world import write_world
from prag_lightning.language_model.prompts import TrainingTokens
from tests.conftest import quiet_trainer
from tests.reference import nll, peft_model, set_adapter


class Well(NamedTuple):
    """A run that stores much: its folder, module, check and output."""

    folder: Path
    module: ParametricRAG
    check: StorageCheck
    out: str


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Well:
    folder, check, out = tmp_path_factory.mktemp("well"), StorageCheck(), StringIO()
    with redirect_stdout(out):
        module = fit(folder, check, lr=2e-3)
    return Well(folder, module, check, out.getvalue())


def fit(folder: Path, check: StorageCheck, lr: float, **data: Any) -> ParametricRAG:
    write_world(folder, num_people=6)
    module = ParametricRAG("demo", LoraConfig(rank=8), lr=lr, num_slots=1, dtype="float32")
    trainer = quiet_trainer(folder, check, AdapterWriter(str(folder / "adapters")))
    trainer.fit(module, DocumentDataModule(folder, num_slots=1, **data))
    return module


@torch.no_grad()
def expected_loss(model: torch.nn.Module, prompts: list[TrainingTokens]) -> float:
    sums, count = 0.0, 0
    for prompt in prompts:
        ids, start = torch.tensor(prompt.ids), prompt.num_user_tokens
        sums += float(nll(model(input_ids=ids[None]).logits, ids, start)) * (len(ids) - start)
        count += len(ids) - start
    return sums / count


def test_the_likelihoods_are_those_of_the_exported_adapters(well: Well) -> None:
    folder, module, check, _ = well
    assert check.found is not None
    assert check.found.own < check.found.other - 1.0
    data = DocumentDataModule(folder)
    encoder = data.training_encoder
    # The first four that ended are those of the plan, one slot after another.
    tasks = data.plan.tasks[:4]
    assert module.base is not None
    model = peft_model(module.base, module.lora)
    with open_store(folder / "adapters", mode="read") as store:
        rows = store.get_many([task.document_id for task in tasks])
    expected = []
    for place, task in enumerate(tasks):
        asked = {prompt.question: prompt for prompt in task.prompts}
        prompts = [
            encoder.encode_training(p.question, (), p.answer) for p in list(asked.values())[:4]
        ]
        for row in (rows[place], rows[place - 1], module.warm_start_row()):
            set_adapter(model, module.bank.layout, row)
            expected.append(expected_loss(model, prompts))
    means = torch.tensor(expected).view(4, 3).mean(0)
    torch.testing.assert_close(torch.tensor(check.found), means, rtol=1e-3, atol=1e-3)


def test_where_next_to_nothing_was_stored_it_says_so(
    well: Well, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "little was stored" not in well.out
    fit(tmp_path, StorageCheck(), lr=1e-6)
    out = capsys.readouterr().out
    assert "stored knowledge, on 4 documents' own answers" in out
    assert "little was stored; raise --model.lr" in out


def test_without_question_answer_pairs_there_is_nothing_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = StorageCheck()
    fit(tmp_path, check, lr=2e-3, num_qas=0)
    assert check.found is None
    assert "stored knowledge" not in capsys.readouterr().out
