"""Whatever is wrong with a base model's files, or where they are, is said in one line."""

import errno
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from prag_lightning.language_model import pretrained
from prag_lightning.language_model.base_model import load_base, load_tokenizer
from tests.conftest import tiny_base, tiny_tokenizer


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stands for a machine without a network: nothing listens on this port."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    pretrained._hub_is_there.cache_clear()
    yield
    pretrained._hub_is_there.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base model and its tokenizer, to be broken."""
    tiny_base().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def change(file: Path, **settings: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def as_pickle(folder: Path) -> None:
    torch.save(tiny_base().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    truncate(folder / "pytorch_model.bin")


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def as_adapter(folder: Path) -> None:
    without_config(folder)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')


def as_pointer(folder: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
    (folder / "model.safetensors").write_text(pointer)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "vocabulary": (
        lambda f: change(f / "config.json", vocab_size=500),
        r"has 2 tensors of other sizes .* 'lm_head.weight' is \(400, 32\) in its files and \(500,",
    ),
    "gptq": (
        lambda f: change(
            f / "config.json", quantization_config={"quant_method": "gptq", "bits": 4}
        ),
        r"optimum.*; install it, or use another base model",
    ),
    "awq": (
        lambda f: change(f / "config.json", quantization_config={"quant_method": "awq"}),
        r"gptqmodel.*; install it, or use another base model",
    ),
    "compressed tensors": (
        lambda f: change(
            f / "config.json", quantization_config={"quant_method": "compressed-tensors"}
        ),
        r"compressed-tensors.*; install it, or use another base model",
    ),
    "half a pickle": (as_pickle, "PytorchStreamReader failed"),
    "half a file": (lambda f: truncate(f / "model.safetensors"), "incomplete metadata"),
    "no safetensors": (
        lambda f: (f / "model.safetensors").write_bytes(b"broken" * 99),
        "header",
    ),
    "git lfs": (as_pointer, "model.safetensors is a pointer of Git LFS; .* `git lfs pull`"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "not a valid JSON file"),
    "no config": (without_config, "no config.json in it"),
    "an adapter": (as_adapter, "is an adapter, not a language model; give the model that it was"),
    "unknown": (lambda f: change(f / "config.json", model_type="xyz"), "model type `xyz`"),
    "no text": (lambda f: change(f / "config.json", model_type="t5"), "T5"),
    "heads": (lambda f: change(f / "config.json", num_attention_heads=3), "not a multiple of"),
    "words": (lambda f: change(f / "config.json", hidden_size="x"), "'hidden_size' expected int"),
    "rope": (
        lambda f: change(f / "config.json", rope_parameters={"rope_type": "foo"}),
        "KeyError: 'foo'",
    ),
    "own code": (
        lambda f: change(f / "config.json", model_type="mine", auto_map={"AutoConfig": "m.C"}),
        "needs Python code of its own; if you trust it, set trust_remote_code",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_base_is_refused_in_one_line_with_its_name(damage: str, folder: Path) -> None:
    harm, message = DAMAGES[damage]
    load_base(str(folder))
    harm(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as info:
        load_base(str(folder))
    text = str(info.value)
    assert text.startswith(f"base model '{folder}' ")
    assert "\n" not in text
    assert len(text) < 800


def of_newer_version(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"] = [["a"]]
    (folder / "tokenizer.json").write_text(json.dumps(content))


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("*token*"):
        file.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (of_newer_version, "tokenizer.json is of a newer version of tokenizers"),
        (without_tokenizer, "its files hold no tokenizer, as tokenizer.json"),
        (as_adapter, "is an adapter, not a language model"),
        (lambda f: (f / "tokenizer_config.json").write_text("[1]"), "AttributeError: 'list'"),
    ],
)
def test_a_damaged_tokenizer_is_refused_in_one_line(
    harm: Callable[[Path], object], message: str, folder: Path
) -> None:
    load_tokenizer(str(folder))
    harm(folder)
    with pytest.raises(ValueError, match=message) as info:
        load_tokenizer(str(folder))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("load", [load_base, load_tokenizer])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/nowhere/at/all", r"'/nowhere/at/all' cannot be loaded \(no such folder\)"),
        ("runs/x/base", r"'runs/x/base' cannot be loaded \(no such folder\)"),
        ("some/model", r"'some/model' cannot be loaded \(.*127\.0\.0\.1:9 cannot be reached\)"),
        ("model", "'model' cannot be loaded .* cannot be reached"),
    ],
)
def test_a_base_that_is_nowhere_is_named_at_once(
    load: Callable[[str], object], name: str, message: str
) -> None:
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=message) as info:
        load(name)
    assert str(info.value).endswith("or a hub name that this machine can reach")
    # transformers asks twelve times, for a minute.
    assert time.monotonic() - start < 5


def test_a_base_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no base model is named"):
        load_base("")


def test_a_base_that_was_downloaded_before_is_loaded_without_the_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cached(name: str, file: str) -> str:
        return str(folder / file)

    monkeypatch.setattr(pretrained, "try_to_load_from_cache", cached)
    assert load_base("some/model").name_or_path == str(folder)
    assert load_tokenizer("some/model").eos_token == "<|end|>"


def test_a_hub_that_is_told_to_be_left_alone_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def refuse() -> None:
        raise AssertionError

    monkeypatch.setattr(pretrained, "get_session", refuse)
    with pytest.raises(FileNotFoundError, match="cannot be reached"):
        load_base("some/model")


class FailingLoader:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def from_pretrained(self, *args: object, **kwargs: object) -> None:
        raise self.error


def test_a_failing_disk_is_no_wrong_name(folder: Path) -> None:
    loader = FailingLoader(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left") as info:
        pretrained.from_pretrained(loader, str(folder))
    # Those mean a path that is not what it should be.
    assert type(info.value) is OSError


def test_a_server_that_goes_away_is_no_wrong_name(folder: Path) -> None:
    class LeavingLoader:
        def from_pretrained(self, *args: object, **kwargs: object) -> None:
            raise OSError("We couldn't connect") from LocalEntryNotFoundError("gone")

    with pytest.raises(ConnectionError, match=r"\(We couldn't connect\); try again"):
        pretrained.from_pretrained(LeavingLoader(), str(folder))


@pytest.mark.parametrize("error", [MemoryError("full"), torch.OutOfMemoryError("full")])
def test_a_full_memory_is_not_the_fault_of_the_files(error: Exception, folder: Path) -> None:
    with pytest.raises(type(error), match="full"):
        pretrained.from_pretrained(FailingLoader(error), str(folder))
