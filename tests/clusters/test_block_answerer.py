"""What of answering on a cluster needs no cluster: the same batches, order, files and refusals."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from prag_lightning.callbacks import AdapterWriter, MergedEvaluation, WarmStart
from prag_lightning.cli.main import main
from prag_lightning.clusters.block_answerer import Stage
from prag_lightning.clusters.ray_answers import answer_with_ray
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.demo.world import write_world
from prag_lightning.documents.records import Question, read_unique
from prag_lightning.encoding.per_document import LostProcessError
from prag_lightning.module import ParametricRAG
from tests.clusters.ray_double import Killed, RayDouble
from tests.conftest import quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec")


def module_for(base_dir: Path, store: Path) -> ParametricRAG:
    return ParametricRAG(str(base_dir), lr=3e-3, num_slots=2, max_new_tokens=3, store=str(store))


def data_for(base_dir: Path, world: Path) -> DocumentDataModule:
    return DocumentDataModule(
        world,
        base=str(base_dir),
        methods="closed_book,prag",
        question_batch_size=2,
        limit=4,
        max_tokens=150,
        num_slots=2,
        num_qas=1,
        num_rewrites=0,
    )


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, base_dir: Path) -> Path:
    """A folder with documents (``world``), and a local run (``run``)."""
    folder = tmp_path_factory.mktemp("local")
    write_world(folder / "world", num_people=2)
    module, data = module_for(base_dir, folder / "store"), data_for(base_dir, folder / "world")
    callbacks = (WarmStart(), AdapterWriter(), MergedEvaluation())
    trainer = quiet_trainer(folder / "run", *callbacks)
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    trainer.predict(module, data)
    return folder


def answer(
    base_dir: Path, local: Path, root: Path, *callbacks: L.Callback, stage: Stage = "test"
) -> list[Any]:
    return answer_with_ray(
        module_for(base_dir, local / "store"),
        data_for(base_dir, local / "world"),
        stage=stage,
        root_dir=root,
        callbacks=[WarmStart(), *callbacks, MergedEvaluation()],
        shows_progress=False,
    )


def rows(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file without what took how long."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


class Dies(L.Callback):
    """Lets batches kill their worker.

    Args:
        number: Which one does, of all that begin.
        question: A question that always does.
    """

    def __init__(self, number: int = 0, question: str = "") -> None:
        self.number, self.question = number, question
        self.num_begun = 0

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, *_: int
    ) -> None:
        self.num_begun += 1
        ids = [question.id for question in batch.questions]
        if self.num_begun == self.number or self.question in ids:
            raise Killed


def test_answers_and_their_order_are_those_of_a_local_run_though_a_worker_dies(
    ray: RayDouble,
    base_dir: Path,
    local: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dies = Dies(2)
    answers = answer(base_dir, local, tmp_path, dies)
    assert ray.num_killed == 1 + 2
    # Of the block of the dead worker, one batch was answered twice.
    assert dies.num_begun > len(answers) // 2 > 4
    assert rows(tmp_path / "predictions.jsonl") == rows(local / "run" / "predictions.jsonl")
    assert capsys.readouterr().out.count("EM") == 1
    answer(base_dir, local, tmp_path, stage="predict")
    assert rows(tmp_path / "answers.jsonl") == rows(local / "run" / "answers.jsonl")
    assert capsys.readouterr().out.startswith(f"{len(answers)} answers are in")


def test_questions_over_which_all_workers_die_end_the_run_and_leave_no_table(
    ray: RayDouble, base_dir: Path, local: Path, tmp_path: Path
) -> None:
    first = read_unique(local / "world" / "questions.jsonl", Question)[0].id
    message = r"^each worker that answered question '.*' and 1 more by '\w+' died; .*batch_size$"
    with pytest.raises(LostProcessError, match=message):
        answer(base_dir, local, tmp_path, Dies(question=first))
    assert not (tmp_path / "predictions.jsonl").exists()


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("test", "--ray.num_workers 3", "the settings under 'ray' need --engine ray"),
        ("predict", "--engine ray --trainer.devices 2", "trainer.devices is for a local run"),
    ],
)
def test_what_an_engine_would_ignore_is_refused_in_one_line(
    command: str,
    words: str,
    message: str,
    base_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = ["--trainer.default_root_dir", str(tmp_path), "--model.base", str(base_dir)]
    assert main([command, *run, *words.split()]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
