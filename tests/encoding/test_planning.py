"""Plans whose documents and augmentations stay in their files."""

import pickle
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.records import (
    Augmentation,
    Document,
    QuestionAnswer,
    read_records,
    write_records,
)
from prag_lightning.encoding import planning
from prag_lightning.encoding.plan import document_prompts
from prag_lightning.encoding.planning import plan_tasks

NUM_DOCUMENTS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    documents = [
        Document(id=f"d{n}", title="É", text=f"Text {n}, " + "word " * 300)
        for n in range(NUM_DOCUMENTS)
    ]
    pair = QuestionAnswer(question="What?", answer="That.", full_answer="It is that.")
    made = [
        Augmentation(document_id=d.id, rewrites=[d.text[::-1]], qas=[pair] * 3) for d in documents
    ]
    write_records(folder / "documents.jsonl", documents)
    write_records(folder / "augmentations.jsonl", made)
    return folder


def as_rank(data: DocumentDataModule, rank: int, world_size: int) -> DocumentDataModule:
    trainer: Any = SimpleNamespace(
        global_rank=rank, world_size=world_size, default_root_dir=".", training=True
    )
    data.trainer = trainer
    return data


@pytest.mark.parametrize(
    ("device", "compiled", "given", "packed"),
    [
        ("cpu", False, None, True),
        ("cuda", False, None, False),
        ("cpu", True, None, False),
        ("cuda", False, True, True),
        ("cpu", False, False, False),
    ],
)
def test_prompts_are_packed_where_that_is_faster_unless_told_otherwise(
    folder: Path, device: str, compiled: bool, given: bool | None, packed: bool
) -> None:
    data = DocumentDataModule(str(folder), packed=given)
    trainer: Any = as_rank(data, 0, 1).trainer
    trainer.strategy = SimpleNamespace(root_device=torch.device(device))
    trainer.lightning_module = SimpleNamespace(compile_base=compiled)
    assert data.encoding_steps(2).packed == packed


def test_a_plan_and_its_steps_hold_a_fraction_of_the_texts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "_NUM_KEPT", NUM_DOCUMENTS // 10)
    data = DocumentDataModule(str(folder))
    tracemalloc.start()
    steps = data.encoding_steps(4)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(steps) == NUM_DOCUMENTS * 5 // 4
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert held < 0.2 * size
    # Most of it are ids and places: some hundred bytes a document, however long its texts are.
    assert held / NUM_DOCUMENTS < 700
    # Nor do texts gather while they are read.
    tracemalloc.start()
    num_prompts = sum(len(task.prompts) for task in steps.tasks)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_prompts == NUM_DOCUMENTS * 5
    assert held < 0.2 * size


def test_a_task_that_is_read_later_is_what_its_lines_say(folder: Path) -> None:
    data = DocumentDataModule(str(folder))
    made = {
        one.document_id: one for one in read_records(folder / "augmentations.jsonl", Augmentation)
    }
    documents = {one.id: one for one in read_records(folder / "documents.jsonl", Document)}
    for task in data.plan.tasks[::50]:
        expected = document_prompts(documents[task.document_id], made[task.document_id])
        assert list(task.prompts) == expected
        assert (task.num_prompts, task.text) == (5, documents[task.document_id].text)
        texts = [(*p.passages, p.question, p.answer) for p in expected]
        assert task.num_characters == sum(len(text) for texts in texts for text in texts)


def test_a_task_goes_into_another_process_without_its_texts(folder: Path) -> None:
    tasks = DocumentDataModule(str(folder)).plan.tasks
    pickled = pickle.dumps(tasks)
    assert len(pickled) < 0.2 * sum(file.stat().st_size for file in folder.iterdir())
    task = pickle.loads(pickled)[7]
    assert task == tasks[7]
    assert task.digest == tasks[7].digest
    # Where there are no such files, it goes with them.
    alone = tasks[7].in_memory()
    assert len(pickle.dumps(alone)) > len(alone.text)
    assert alone.digest == tasks[7].digest


def test_shards_plan_every_document_once_and_read_no_more_than_ids_of_others(
    folder: Path, tmp_path: Path
) -> None:
    whole = DocumentDataModule(str(folder)).plan.tasks
    plans = [DocumentDataModule(str(folder), shard=f"{part}/3").plan.tasks for part in range(3)]
    planned = [task.document_id for tasks in plans for task in tasks]
    assert sorted(planned) == sorted(task.document_id for task in whole)
    assert all(70 < len(tasks) < 130 for tasks in plans)
    # A line of another process's document that is no document is that process's to refuse.
    owner = next(part for part in range(3) if any(t.document_id == "d7" for t in plans[part]))
    lines = (folder / "documents.jsonl").read_text().splitlines()
    lines[7] = '{"id": "d7"}'
    (tmp_path / "documents.jsonl").write_text("\n".join(lines))
    (tmp_path / "augmentations.jsonl").write_bytes((folder / "augmentations.jsonl").read_bytes())
    for part in range(3):
        data = DocumentDataModule(str(tmp_path), shard=f"{part}/3")
        if part == owner:
            with pytest.raises(ValueError, match=r"documents\.jsonl:8: field 'text'"):
                assert data.plan
        else:
            assert data.plan.tasks


def test_questions_about_others_are_drawn_from_the_documents_of_all_processes(
    folder: Path,
) -> None:
    def strangers(rank: int, world_size: int) -> dict[str, list[Any]]:
        data = DocumentDataModule(
            str(folder), objective="distill", num_strangers_questions=2, num_rewrites=0
        )
        tasks = as_rank(data, rank, world_size).plan.tasks
        return {task.document_id: list(task.prompts) for task in tasks[::20]}

    alone, shared = strangers(0, 1), strangers(1, 2)
    common = alone.keys() & shared.keys()
    assert common
    assert all(alone[name] == shared[name] for name in common)
    assert all(sum(p.is_strangers for p in prompts) == 2 for prompts in alone.values())


def test_documents_in_memory_are_planned_as_those_of_a_file(folder: Path) -> None:
    documents = {one.id: one for one in read_records(folder / "documents.jsonl", Document)}
    made = {
        one.document_id: one for one in read_records(folder / "augmentations.jsonl", Augmentation)
    }
    tasks = plan_tasks(documents, made).tasks
    assert [task.digest for task in tasks[:50]] == [
        task.digest for task in DocumentDataModule(str(folder)).plan.tasks[:50]
    ]
