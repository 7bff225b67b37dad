"""YAML of any kind takes no more memory than its text, and is one line where it is none."""

import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from prag_lightning.documents.yaml_text import MOST_LEVELS, load_yaml, read_yaml

LETTERS = "abcdefghij"
BOMB = "a: &a [" + ",".join("x" * 10) + "]\n"
BOMB += "".join(f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in pairwise(LETTERS))
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)
)
HOSTILE = {
    "a list of lists of aliases": (BOMB, "more than 100,000 values"),
    "merges of merges": (MERGES, "more than 100,000 values"),
    "more values than settings have": ("- 1\n" * 100_001, "more than 100,000 values"),
    "an alias of itself": ("model: &a\n  lora: *a\n", r"'\*a' stands within what it names"),
    "brackets in brackets": ("[" * 100_000, "50 levels|nesting depth"),
    "lines in lines": ("".join(" " * i + "a:\n" for i in range(1000)), "50 levels"),
    "comments without end": ("# x\n" * 1_000_000, "4,000,000 characters"),
    "a number of sixties": (":".join(["59"] * 100_000), "number of more than 1,000 digits"),
    "a number of digits": ("9" * 100_000, "number of more than 1,000 digits"),
    "a character that is none": ("a: \x00", "is no YAML"),
    "an alias of nothing": ("a: *b", "is no YAML"),
    "a list as a name": ("? [a, b]\n: x", "is no YAML"),
    "a Python object": ("!!python/object/apply:os.system ['true']", "is no YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "is no YAML"),
}


@pytest.mark.parametrize(("text", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_yaml_is_refused_in_one_line_at_once_and_takes_little_memory(
    text: str, reason: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=reason) as raised:
            read_yaml(file)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500
    assert most < 50_000_000
    assert time.process_time() - start < 10


def test_aliases_and_levels_that_settings_have_are_read() -> None:
    assert load_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n") == {
        "a": {"x": 1},
        "b": {"x": 1},
        "c": {"x": 1, "y": 2},
    }
    deep = MOST_LEVELS - 1
    assert load_yaml("[" * deep + "1" + "]" * deep) is not None
    assert load_yaml("lr: 0.001\nnames: [ü, '日本']") == {"lr": 0.001, "names": ["ü", "日本"]}
    assert load_yaml("") is None


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("rank: 2", encoding="utf-8-sig")
    assert read_yaml(file) == {"rank": 2}
