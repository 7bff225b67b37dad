"""Parts of the documents for job arrays."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prag_lightning.cli.exit_status import USAGE
from prag_lightning.cli.main import main
from prag_lightning.datamodule import DocumentDataModule
from prag_lightning.documents.records import Document
from prag_lightning.encoding.shard import Shard
from tests.conftest import tiny_tokenizer


@given(
    st.lists(st.text(min_size=1), unique=True, max_size=9), st.integers(1, 20), st.integers(1, 5)
)
@settings(max_examples=40)
def test_every_document_is_in_one_shard_and_in_one_process_of_it(
    ids: list[str], count: int, num_processes: int
) -> None:
    for document_id in ids:
        places = [
            (index, rank)
            for index in range(count)
            for rank in range(num_processes)
            if Shard(index, count).holds(document_id, rank, num_processes)
        ]
        assert len(places) == 1
        assert Shard(places[0][0], count).holds(document_id)


def test_shards_are_of_about_equal_size_and_so_are_the_parts_of_their_processes() -> None:
    ids = [f"document {number}" for number in range(6000)]
    random.Random(0).shuffle(ids)
    for index in range(3):
        own = [name for name in ids if Shard(index, 3).holds(name)]
        assert len(own) == pytest.approx(2000, rel=0.1)
        for rank in range(3):
            part = [name for name in own if Shard(index, 3).holds(name, rank, 3)]
            assert len(part) == pytest.approx(667, rel=0.15)


def test_shards_do_not_depend_on_the_order_of_the_documents() -> None:
    documents = [Document(id=f"d{n}", title="", text=f"text {n}") for n in range(30)]
    tokenizer = tiny_tokenizer()

    def planned(documents: list[Document], shard: str | None) -> set[str]:
        data = DocumentDataModule(documents, base=tokenizer, num_rewrites=0, num_qas=0, shard=shard)
        return {task.document_id for task in data.plan.tasks}

    whole = planned(documents, None)
    parts = [planned(documents, f"{index}/3") for index in range(3)]
    assert [planned(documents[::-1], f"{index}/3") for index in range(3)] == parts
    assert all(parts)
    assert sum(map(len, parts)) == len(whole) == 30
    assert set.union(*parts) == whole


def test_a_shard_is_named_as_it_is_given() -> None:
    assert Shard.parse(" 03/16 ") == Shard(3, 16)
    assert str(Shard(3, 16)) == "3/16"


@pytest.mark.parametrize(
    "text", ["16/16", "-1/4", "1", "/4", "1/", "1/0", "0/0", "1/2/3", "a/b", "", "1.0/2", "1 / 2"]
)
def test_what_names_no_shard_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"give INDEX/COUNT, where INDEX counts from 0") as refused:
        Shard.parse(text)
    assert repr(text) in str(refused.value)


def test_a_bad_shard_ends_a_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--shard", "4/4", "--trainer.default_root_dir", str(tmp_path / "run")]
    assert main(words) == USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "shard is '4/4'; give INDEX/COUNT" in line
    assert not (tmp_path / "run").exists()
