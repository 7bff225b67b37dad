"""GGUF files as base models, converted once to safetensors and cached."""

import copy
import errno
import hashlib
import json
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

from filelock import FileLock
from platformdirs import user_cache_path
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from prag_lightning.documents.writing import whole_folder
from prag_lightning.language_model.loading_errors import errors_in_one_line

_MAGIC = b"GGUF"
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_SOURCE = "source.json"


@dataclass(frozen=True)
class ConvertedBase:
    """A base model that was converted from a GGUF file.

    Args:
        file: The GGUF file.
        folder: Folder of the converted model.
    """

    file: Path
    folder: Path

    @property
    def num_bytes(self) -> int:
        """Size of the folder in bytes."""
        return sum(file.stat().st_size for file in self.folder.iterdir())


def find_gguf(path: Path) -> Path | None:
    """Return a GGUF file given by its path or by a folder that contains no other model.

    Args:
        path: A file or folder, which need not exist.

    Raises:
        ValueError: If the folder contains several GGUF files.
    """
    if path.is_file():
        return path if _is_gguf(path) else None
    # Weights in other formats take precedence.
    if not path.is_dir() or any(path.glob("*.safetensors")) or any(path.glob("*.bin")):
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ValueError(f"base model '{path}' holds several GGUF files; name one: {names}")
    return files[0] if files else None


def converted(file: Path) -> Path:
    """Return the folder of a GGUF file's model and tokenizer, after converting it if needed.

    Args:
        file: The GGUF file. It is converted again if its name, size or time changes.

    Raises:
        OSError: If the disk is full.
        ValueError: If it cannot be read, or the package gguf is not installed.
    """
    file = file.resolve()
    folder = _cache_dir() / _key(file)
    if folder.exists():
        return folder
    _check_readable(file)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # If several processes need it, one converts and the others wait.
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _convert(file, folder)
    return folder


def converted_bases() -> list[ConvertedBase]:
    """Return the cached base models, sorted by file name."""
    sources = _cache_dir().glob(f"[!.]*/{_SOURCE}")
    bases = [
        ConvertedBase(Path(json.loads(source.read_text(encoding="utf-8"))), source.parent)
        for source in sources
    ]
    return sorted(bases, key=lambda base: base.file)


def remove_converted(base: ConvertedBase) -> None:
    """Delete the cached conversion of a GGUF file, but not the file itself."""
    shutil.rmtree(base.folder)
    Path(f"{base.folder}.lock").unlink(missing_ok=True)


def _cache_dir() -> Path:
    return user_cache_path("prag-lightning", appauthor=False) / "bases"


def _key(file: Path) -> str:
    state = file.stat()
    identity = json.dumps([str(file), state.st_size, state.st_mtime_ns])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _is_gguf(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def _check_readable(file: Path) -> None:
    if not _is_gguf(file):
        raise ValueError(f"base model '{file}' is called a GGUF file, but is none")
    if _PART.search(file.name):
        raise ValueError(
            f"base model '{file}' is one part of several; make one file of them, as with "
            "llama.cpp's `llama-gguf-split --merge`"
        )
    if find_spec("gguf") is None:
        raise ValueError(
            f"base model '{file}' is a GGUF file, and the package gguf, which reads those, is not "
            "installed; install the extra: pip install 'prag-lightning[gguf]'"
        )


def _convert(file: Path, folder: Path) -> None:
    start = monotonic()
    size = file.stat().st_size / 1e6
    _say(f"converting {file.name} ({size:,.0f} MB), once; this may take a minute")
    with errors_in_one_line(str(file)), whole_folder(folder) as draft:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
        _check_room(model, folder.parent)
        tokenizer.save_pretrained(draft)
        _save(model, draft)
        (draft / _SOURCE).write_text(json.dumps(str(file)), encoding="utf-8")
    size = ConvertedBase(file, folder).num_bytes / 1e6
    _say(f"converted in {monotonic() - start:.0f} s; {size:,.0f} MB are kept in {folder}")


def _save(model: PreTrainedModel, folder: Path) -> None:
    """Write a model as ``save_pretrained`` would, which refuses models loaded from GGUF."""
    config = copy.deepcopy(model.config)
    # It describes packed weights, but these have been unpacked.
    del config.quantization_config
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    # Without duplicates: tied heads are restored from the embedding.
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.named_parameters()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _check_room(model: PreTrainedModel, folder: Path) -> None:
    needed = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e6:,.0f} MB are needed in {folder}, and {free / 1e6:,.0f} are free",
        )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
