"""What of an encoding on a cluster needs no cluster: blocks, the pool, receipts, refusals."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from jsonargparse import Namespace

from prag_lightning.adapters.store.opening import open_store
from prag_lightning.adapters.store.records import Receipt
from prag_lightning.cli.main import main
from prag_lightning.cli.ray_engine import refuse_local_settings
from prag_lightning.clusters.blocks import after_death, make_blocks
from prag_lightning.clusters.ray import encode_with_ray
from prag_lightning.clusters.ray_pool import RayPool
from prag_lightning.clusters.receipts import compare_receipts
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.encoding.per_document import LostProcessError
from prag_lightning.encoding.plan import EncodingTask, TrainingPrompt
from prag_lightning.module import ParametricRAG
from tests.adapters.store.store_world import LAYOUTS, RECIPE, adapters, put
from tests.clusters.ray_double import ActorDouble, RayDouble, RayError, RayTaskError
from tests.conftest import tiny_base, tiny_tokenizer


def tasks(number: int) -> list[EncodingTask]:
    return [EncodingTask(f"d{n}", [TrainingPrompt("q", (), "a")]) for n in range(number)]


@pytest.mark.parametrize("number", [1, 2, 7, 40, 1000])
@pytest.mark.parametrize("num_workers", [1, 2, 30])
def test_blocks_hold_every_document_once_and_never_grow(number: int, num_workers: int) -> None:
    given = tasks(number)
    blocks = list(make_blocks(given, num_workers))
    assert [task for block in blocks for task in block.tasks] == given
    sizes = [len(block.tasks) for block in blocks]
    assert all(one >= other for one, other in pairwise(sizes))
    assert max(sizes) <= 256
    # Nobody waits while others have several documents left.
    assert len(blocks) >= min(number, num_workers)


def test_without_documents_one_worker_still_checks_the_settings() -> None:
    (block,) = make_blocks(list[int](), 4)
    assert block.tasks == []


def do_all(given: Sequence[int]) -> list[list[int]]:
    return [list(given)]


def run(do: Callable[[Sequence[int]], list[list[int]]]) -> tuple[list[int], list[int]]:
    """Let two workers do 40 tasks, and return those that were done and those that were given up."""
    pool: RayPool[int, list[int]] = RayPool(lambda: ActorDouble(do), 2)
    done, given_up = list[int](), list[int]()
    for block, results in pool.work(make_blocks(range(40), 2)):
        if results is None:
            given_up += block.tasks
        else:
            done += [task for result in results for task in result]
    pool.close()
    return done, given_up


def test_a_task_that_kills_workers_is_given_up_and_all_others_are_done(ray: RayDouble) -> None:
    def do(given: Sequence[int]) -> list[list[int]]:
        if {3, 38} & {*given}:
            raise RayError("killed")
        return do_all(given)

    done, given_up = run(do)
    assert sorted(done) == sorted({*range(40)} - {3, 38})
    assert sorted(given_up) == [3, 38]
    # Two with its block, and two by itself.
    assert ray.num_killed <= 2 * 4 + 2


def test_the_block_of_a_killed_worker_is_done_by_another(ray: RayDouble) -> None:
    deaths = iter([True])

    def do(given: Sequence[int]) -> list[list[int]]:
        if next(deaths, False):
            raise RayError("killed")
        return do_all(given)

    done, given_up = run(do)
    assert sorted(done) == list(range(40))
    assert given_up == []


def test_workers_that_all_die_end_the_run(ray: RayDouble) -> None:
    def do(given: Sequence[int]) -> list[list[int]]:
        raise RayError("out of memory")

    with pytest.raises(LostProcessError, match=r"11 workers died one after .*: out of memory"):
        run(do)


def test_what_a_worker_raises_is_raised_here(ray: RayDouble) -> None:
    def do(given: Sequence[int]) -> list[list[int]]:
        raise RayTaskError(ValueError("another recipe"))

    with pytest.raises(ValueError, match=r"^another recipe$"):
        run(do)


def test_after_two_deaths_documents_are_encoded_one_by_one_and_given_up_after_two_more() -> None:
    block = next(make_blocks(tasks(40), 2))
    (again,) = after_death(block)
    assert (again.tasks, again.num_deaths) == (block.tasks, 1)
    alone = after_death(again)
    assert [len(single.tasks) for single in alone] == [1] * len(block.tasks)
    (twice,) = after_death(alone[0])
    assert after_death(twice) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_receipts_are_compared_with_what_the_store_holds(layout: str, tmp_path: Path) -> None:
    folder, (one, other) = tmp_path / "store", adapters(2)
    with (
        open_store(folder, RECIPE, layout=layout, mode="write") as first,
        open_store(folder, RECIPE, layout=layout, mode="write") as second,
    ):
        put(first, "a", one, "text of a")
        put(first, "b", one, "text of b")
        receipts = [*first.receipts(["a"]), *first.receipts(["b", "none"])]
        second.refresh()
        put(second, "b", other, "other text")
        (again,) = second.receipts(["b"])
    with open_store(folder, mode="read") as store:
        assert compare_receipts([receipts[0], again], store) == ([], 0)
        # Of an earlier text; of no document; of another worker's adapter of the same document.
        assert compare_receipts(receipts, store) == ([receipts[1]], 0)
        unknown = Receipt("c", "text of c")
        assert compare_receipts([unknown], store) == ([unknown], 0)
        changed = receipts[0]._replace(checksum="another")
        assert compare_receipts([changed], store) == ([], 1)
    assert receipts[0].file
    assert len(receipts[0].checksum) == 32
    assert receipts[0].file != receipts[1].file or receipts[1].row == receipts[0].row + 1


def test_without_ray_one_line_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, base_dir: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr("prag_lightning.clusters.ray_cluster.find_spec", lambda name: None)
    module, data = ParametricRAG(str(base_dir)), DocumentDataModule(base=str(base_dir))
    with pytest.raises(ValueError, match=r"needs ray; .*: pip install 'prag-lightning\[ray\]'$"):
        encode_with_ray(module, data, root_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--ray.gpus_per_worker 2", "gpus_per_worker is 2, but a base lies on one GPU"),
        ("--trainer.devices 2", "trainer.devices is for a local run; leave it out with --engine"),
    ],
)
def test_what_needs_a_local_run_is_refused_in_one_line(
    words: str, message: str, base_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = ["--trainer.default_root_dir", str(tmp_path), "--model.base", str(base_dir)]
    assert main(["fit", "--engine", "ray", *run, *words.split()]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("prag")
    assert message in line


@pytest.mark.parametrize(
    "changed",
    [{"logger": True}, {"limit_train_batches": 3}, {"num_nodes": 2}, {"strategy": "per_document"}],
)
def test_settings_of_a_trainer_that_no_worker_would_follow_are_refused(
    changed: dict[str, object],
) -> None:
    own = {"precision": "16-mixed", "callbacks": None, "default_root_dir": "run"}
    defaults = dict.fromkeys([*own, *changed])
    refuse_local_settings(Namespace({**defaults, **own}), defaults)
    (name,) = changed
    with pytest.raises(ValueError, match=rf"^trainer\.{name} is for a local run"):
        refuse_local_settings(Namespace({**defaults, **changed}), defaults)


def test_a_progress_bar_of_one_process_is_refused() -> None:
    bar = Namespace(class_path="lightning.pytorch.callbacks.RichProgressBar")
    with pytest.raises(ValueError, match="RichProgressBar counts the steps of one process"):
        refuse_local_settings(Namespace(callbacks=[bar]), {"callbacks": None})


@pytest.mark.parametrize("setting", ["warm_up", "validation_questions"])
def test_data_that_need_a_local_run_are_refused(
    setting: str, base_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prag_lightning.clusters.ray_cluster.find_spec", lambda name: True)
    module = ParametricRAG(str(base_dir))
    data = DocumentDataModule(base=str(base_dir), **{setting: "q.jsonl"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"data\.{setting} .* encode in this process"):
        encode_with_ray(module, data)


def test_a_loaded_base_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prag_lightning.clusters.ray_cluster.find_spec", lambda name: True)
    module = ParametricRAG(tiny_base(), tokenizer=tiny_tokenizer())
    data = DocumentDataModule(base=tiny_tokenizer())
    with pytest.raises(ValueError, match="is loaded; give its hub name or folder"):
        encode_with_ray(module, data)
