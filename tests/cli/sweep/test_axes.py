"""What a sweep goes over, as it is written on a command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.cli.sweep.axes import Axis, combinations, read_axis, run_name
from prag_lightning.evaluation.setting_names import short_keys

KNOWN = [
    "model.lora.rank",
    "model.lora.target_modules",
    "model.dtype",
    "adapter_writer.dtype",
    "data.retriever",
    "evaluation.merge",
    "warm_start.seed",
    "seed_everything",
]


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("rank=1,2,4", "model.lora.rank", ("1", "2", "4")),
        ("lora.rank=8", "model.lora.rank", ("8",)),
        ("model.lora.rank=8", "model.lora.rank", ("8",)),
        ("merge=sum,anchored", "evaluation.merge", ("sum", "anchored")),
        ("model.dtype=float32", "model.dtype", ("float32",)),
        ("seed=1,2", "warm_start.seed", ("1", "2")),
        ("target_modules=[a,b],[c]", "model.lora.target_modules", ("[a,b]", "[c]")),
        ("data.retriever={a: [1,2], b: 3},null", "data.retriever", ("{a: [1,2], b: 3}", "null")),
        ("data.retriever.init_args.k1=1,2", "data.retriever.init_args.k1", ("1", "2")),
        ("merge=a=b", "evaluation.merge", ("a=b",)),
    ],
)
def test_an_axis_is_a_key_or_what_it_ends_in_and_values_between_commas(
    text: str, key: str, values: tuple[str, ...]
) -> None:
    assert read_axis(text, KNOWN) == Axis(key, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rank", "--over rank: expected KEY=VALUE,VALUE, such as"),
        ("rank=", "expected KEY=VALUE,VALUE"),
        ("rank=1,,2", "expected KEY=VALUE,VALUE"),
        ("=1", "there is no such setting"),
        ("rank=1,2,1", "a value is given twice"),
        ("dtype=int8", "may be adapter_writer.dtype or model.dtype; write it out"),
        ("rnk=1", "--over rnk: there is no such setting; did you mean 'rank'?"),
        ("model.lora.rnk=1", "did you mean 'model.lora.rank'?"),
        ("ank=1", "did you mean 'rank'?"),
        ("xyz=1", "there is no such setting; `prag fit --help` lists the settings"),
    ],
)
def test_anything_else_is_refused_with_a_hint(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^--over ") as raised:
        read_axis(text, KNOWN)
    assert message in str(raised.value)


def test_all_combinations_come_once_and_the_last_axis_changes_first() -> None:
    axes = [Axis("a", ("1", "2")), Axis("b", ("x", "y", "z"))]
    assert [tuple(swept.values()) for swept in combinations(axes)] == [
        ("1", "x"), ("1", "y"), ("1", "z"), ("2", "x"), ("2", "y"), ("2", "z")
    ]  # fmt: skip
    with pytest.raises(ValueError, match="--over a: given twice"):
        list(combinations([*axes, axes[0]]))


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        ({"model.lora.rank": "2", "evaluation.merge": "sum"}, "rank=2,merge=sum"),
        ({"model.lr": "1.5e-3"}, "lr=1.5e-3"),
        ({"model.dtype": "a", "adapter_writer.dtype": "b"}, "model.dtype=a,adapter_writer.dtype=b"),
    ],
)
def test_a_run_is_named_by_its_own_settings(swept: dict[str, str], name: str) -> None:
    assert run_name(swept) == name


@given(st.lists(st.text(min_size=1), min_size=2, max_size=4, unique=True))
def test_every_value_makes_one_folder_s_name_and_no_two_make_the_same(values: list[str]) -> None:
    names = [run_name({"data.folder": value}) for value in values]
    assert len(set(names)) == len(values)
    for name in names:
        assert name.isascii()
        assert "/" not in name
        assert "\\" not in name
        assert "," not in name
        assert len(name) < 100
        assert name.startswith("folder=")


def test_keys_are_short_unless_they_end_alike() -> None:
    keys = ["model.dtype", "adapter_writer.dtype", "model.lr"]
    assert list(short_keys(keys).values()) == ["model.dtype", "adapter_writer.dtype", "lr"]
