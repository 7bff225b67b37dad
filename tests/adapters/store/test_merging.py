"""Stores that were filled apart and are merged, and what a store says of itself meanwhile."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prag_lightning.adapters.store import merging
from prag_lightning.adapters.store.merging import merge_stores
from prag_lightning.adapters.store.opening import open_store, verify_store
from prag_lightning.adapters.store.recipe import StoreDtype
from prag_lightning.adapters.store.status import WriterStatus, store_status
from tests.adapters.store.store_world import (
    LAYOUTS,
    RECIPE,
    adapters,
    fill,
    killed_at,
    names,
    put,
)

ROWS = adapters(6)


def write(
    folder: Path,
    documents: list[int],
    layout: str = "packed",
    dtype: StoreDtype = "float32",
    rows: torch.Tensor = ROWS,
) -> str:
    with open_store(folder, RECIPE, layout=layout, dtype=dtype, mode="write") as store:
        ids = [f"doc {number}" for number in documents]
        store.put_many(ids, rows[documents], ["text"] * len(ids))
    return str(folder)


@pytest.mark.parametrize(
    ("layout", "dtype"), [("packed", "float32"), ("packed", "int8"), ("peft", "bfloat16")]
)
def test_a_merge_holds_every_document_once_and_of_two_adapters_the_first(
    tmp_path: Path, layout: str, dtype: StoreDtype
) -> None:
    one = write(tmp_path / "one", [0, 1, 2], layout, dtype)
    # Layouts may differ.
    other = write(tmp_path / "other", [2, 3, 4], "packed", dtype, rows=-ROWS)
    into = write(tmp_path / "into", [4, 5], layout, dtype)
    new = str(tmp_path / "new")
    assert sorted(merge_stores([one, other], new)) == names(5)
    assert sorted(merge_stores([one, other], into)) == names(4)
    assert list(merge_stores([one, other], new)) == []
    for folder, signs in ((new, [1, 1, 1, -1, -1]), (into, [1, 1, 1, -1, 1, 1])):
        count = len(signs)
        same = write(
            tmp_path / f"same as {Path(folder).name}",
            list(range(count)),
            layout,
            dtype,
            rows=ROWS[:count] * torch.tensor(signs)[:, None],
        )
        with open_store(folder, mode="read") as found, open_store(same, mode="read") as expected:
            assert sorted(found.ids()) == names(count)
            assert torch.equal(found.get_many(names(count)), expected.get_many(names(count)))
            assert found.manifest == expected.manifest
        assert verify_store(folder) == []


def test_what_cannot_be_merged_is_refused_and_nothing_is_added(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", [0, 1]), write(tmp_path / "two", [2])
    with open_store(tmp_path / "edited", RECIPE, mode="write") as store:
        store.put_many(names(2), ROWS[:2], ["text", "another text"])
    slower = RECIPE.model_copy(update={"training": {**RECIPE.training, "lr": 1e-4}})
    open_store(tmp_path / "slower", slower, mode="write").close()
    halved = write(tmp_path / "halved", [3], dtype="bfloat16")
    for others, reason in [
        (["edited"], r"its adapters of 'doc 1' were trained on other texts than those in .*one"),
        (["slower"], r"training.lr: the store has 0.0001, .*/one has 0.0003"),
        ([halved], "dtype: the store has bfloat16, .*one has float32"),
        ([one], "one: is given twice"),
        (["one/."], "is given twice"),
        ([two, "new"], "new: is given twice"),
    ]:
        given = [one, *(str(tmp_path / other) for other in others)]
        with pytest.raises(ValueError, match=reason):
            list(merge_stores(given, str(tmp_path / "new")))
        assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match=r"edited: its adapters of 'doc 1' .* than those in .*one"):
        list(merge_stores([two, str(tmp_path / "edited")], one))
    with pytest.raises(FileNotFoundError, match=r"nowhere/manifest\.json"):
        list(merge_stores([one, str(tmp_path / "nowhere")], two))
    for busy in (tmp_path / "one", tmp_path / "two"):
        with (
            open_store(busy, RECIPE, mode="write"),
            pytest.raises(BlockingIOError, match=f"{busy}: process {os.getpid()} on host"),
        ):
            list(merge_stores([one], two))
    with open_store(two, mode="read") as store:
        assert list(store.ids()) == ["doc 2"]


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_merge_that_dies_at_any_write_goes_on_when_it_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_COPY_BYTES", 2 * 4 * RECIPE.layout.num_params)
    one, two = write(tmp_path / "one", [0, 1, 2]), write(tmp_path / "two", [3, 4])
    added: list[int] = []
    # At every fifth, for time.
    for call in range(1, 200, 5):
        output = tmp_path / str(call)
        with killed_at(call) as outcome:
            list(merge_stores([one, two], str(output)))
        added.append(len(list(merge_stores([one, two], str(output)))))
        assert verify_store(output) == []
        with open_store(output, mode="read") as store:
            assert torch.equal(store.get_many(names(5)), ROWS[:5])
        if not outcome.died:
            break
    # Killed before the first batch, after the last one, and between.
    assert {0, 5} < set(added)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_store_says_by_whom_and_how_fast_it_is_filled_while_it_is(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1_000_000]
    monkeypatch.setattr("time.time", lambda: clock[0])
    here = socket.gethostname(), os.getpid()
    with open_store(tmp_path, RECIPE, layout=layout, mode="write") as first:
        second = open_store(tmp_path, RECIPE, layout=layout, mode="write")
        for number, row in enumerate(ROWS[:4]):
            clock[0] += 30
            put((first, second)[number % 2], f"doc {number}", row, "text")
        first.claim(["doc 8", "doc 9"])
        second.close()
        clock[0] += 30
        with open_store(tmp_path, mode="read") as store:
            status = store_status(store)
        assert (status.num_documents, status.last_write) == (4, 1_000_120)
        # Three documents after the first one, in two minutes.
        assert status.documents_per_minute == pytest.approx(3 / 2)
        expected = [
            WriterStatus(0, *here, "writing", 1_000_000, 1_000_090, 2, 2),
            WriterStatus(1, *here, "done", 1_000_000, 1_000_120, 2, 0),
        ]
        if layout != "packed":
            # Only that layout knows which writer stored what.
            expected = [replace(w, last_write=None, num_documents=None) for w in expected]
        assert status.writers == expected
        clock[0] += 6000
        put(first, "doc 8", ROWS[5], "text")
        with open_store(tmp_path, mode="read") as store:
            # Of the last ten minutes only.
            assert store_status(store).documents_per_minute == pytest.approx(0.1)
    fill(tmp_path / "one", 1, layout)
    with open_store(tmp_path / "one", mode="read") as store:
        assert store_status(store).documents_per_minute is None
