"""Runs of the command line: their folders, and the settings recorded in them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prag_lightning.answering.merge_choice import read_choice
from prag_lightning.documents.yaml_text import read_yaml
from prag_lightning.language_model.embedded import DEMO

if TYPE_CHECKING:
    from prag_lightning.adapters.warm_start import WarmStartSource
    from prag_lightning.retrieval.base import Retriever

_RUNS = Path("runs")
# The settings of `test` also say how it merged.
_SETTINGS = ("test.yaml", "fit.yaml")
_DTYPES = {"bf16-true": "bfloat16", "16-true": "float16"}
_OF_MODULE = ("base", "lora", "dtype", "quantization", "max_new_tokens", "trust_remote_code")
_OF_DATA = (
    "template",
    "exemplars",
    "few_shot_in_training",
    "max_tokens",
    "top_k",
    "question_batch_size",
)


class Run(NamedTuple):
    """The settings of a run.

    Args:
        module: Arguments of its `ParametricRAG`.
        data: Arguments of its `DocumentDataModule`.
        answerer: Arguments of an `Answerer`, besides module, store and data.
        store: Folder or fsspec URL of its adapters.
        warm_start: The warm start of its adapters.
        questions: File of the questions that it is tested on.
    """

    module: dict[str, Any]
    data: dict[str, Any]
    answerer: dict[str, Any]
    store: str
    warm_start: "WarmStartSource"
    questions: Path


def read_run(run_dir: Path) -> Run:
    """Return the settings of the run in a folder.

    With mixed precision the base computes in the dtype of its weights.

    Args:
        run_dir: Root folder of the run.

    Raises:
        FileNotFoundError: If nothing was run there, or its documents are gone.
        ValueError: If its settings are damaged.
    """
    file = settings_file(run_dir)
    run = read_yaml(file)
    try:
        return _run_of(run, run_dir)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file}: holds no settings of a run, or only some ({type(error).__name__}: {error}); "
            "the same command that wrote it writes it again"
        ) from error


def _run_of(run: dict[str, Any], run_dir: Path) -> Run:
    from prag_lightning.adapters.layout import LoraConfig
    from prag_lightning.adapters.warm_start import WarmStartSource

    trainer, model, data, evaluation = (
        run[key] for key in ("trainer", "model", "data", "evaluation")
    )
    # Runs of version 0.1.0 lack some of the settings.
    module = {name: model[name] for name in (*_OF_MODULE, "decoding") if name in model}
    lora = {**model["lora"], "target_modules": tuple(model["lora"]["target_modules"])}
    module["lora"] = LoraConfig(**lora)
    if (dtype := _DTYPES.get(str(trainer["precision"]))) is not None:
        module["dtype"] = dtype
    folder = run_dir / "data" if data["folder"] == DEMO else _found(data["folder"], run_dir)
    choice = read_choice(run_dir)
    merge = evaluation["merge"] if choice is None else choice.merge
    if "temperature" in evaluation and merge == "score":
        merge = {"score": {"temperature": evaluation["temperature"]}}
    return Run(
        module=module,
        data={
            **{name: data[name] for name in _OF_DATA},
            "base": model["base"],
            "trust_remote_code": model.get("trust_remote_code", False),
            "folder": str(folder),
            "retriever": _Retriever(data["retriever"], folder, run_dir),
        },
        answerer={
            "merge": merge,
            "scoring": evaluation["scoring"],
            "device": "cpu" if trainer["accelerator"] == "cpu" else None,
        },
        store=_found_or_url(model["store"], run_dir)
        if model["store"]
        else str(run_dir / "adapters"),
        warm_start=_warm_start(WarmStartSource(**run["warm_start"]), run_dir),
        questions=_found(data["questions"], run_dir)
        if data.get("questions")
        else folder / "questions.jsonl",
    )


def _warm_start(source: "WarmStartSource", run_dir: Path) -> "WarmStartSource":
    from prag_lightning.adapters.warm_start import RANDOM

    if source.path == RANDOM:
        return source
    return replace(source, path=_found_or_url(source.path, run_dir))


def _found_or_url(path_or_url: str, run_dir: Path) -> str:
    return path_or_url if "://" in path_or_url else str(_found(path_or_url, run_dir))


def _found(path: str, run_dir: Path) -> Path:
    """Return a path of a run, also if it is relative to the folder that holds ``runs/NAME``."""
    started_in = run_dir.resolve().parent.parent
    beside = started_in / path
    return Path(path) if Path(path).exists() or not beside.exists() else beside


class _Retriever:
    """Opens the retriever of a run."""

    def __init__(self, settings: dict[str, Any] | str | None, folder: Path, run_dir: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._run_dir = run_dir

    def __call__(self) -> "Retriever":
        from prag_lightning.retrieval.by_name import make_retriever
        from prag_lightning.retrieval.default_index import find_index

        index_dir = find_index(self._folder, self._run_dir)
        return make_retriever(self._settings, self._folder, index_dir)


def default_run_dir(data_folder: str) -> Path:
    """Return the default folder of the run on a folder of documents: ``runs/NAME``.

    Raises:
        ValueError: If the run there is on another folder with this name.
    """
    run_dir = _RUNS / Path(data_folder).resolve().name
    other = _data_folder(run_dir)
    # A folder that is no longer there may have been moved.
    is_there = other is not None and (other == DEMO or _found(other, run_dir).is_dir())
    if other is not None and is_there and not _is_same(other, data_folder, run_dir):
        raise ValueError(
            f"{run_dir} is the run on '{other}', another folder of the same name as "
            f"'{data_folder}'; give this one a --trainer.default_root_dir of its own"
        )
    return run_dir


def _data_folder(run_dir: Path) -> str | None:
    """Return the folder of documents that a run names; None if that is not known."""
    try:
        folder = read_yaml(settings_file(run_dir))["data"]["folder"]
    except (FileNotFoundError, KeyError, TypeError, ValueError):
        return None
    return folder if isinstance(folder, str) else None


def _is_same(one: str, other: str, run_dir: Path) -> bool:
    if DEMO in (one, other):
        return one == other
    return _found(one, run_dir).resolve() == Path(other).resolve()


def settings_file(run_dir: Path) -> Path:
    """Return the file with the settings of a run.

    Raises:
        FileNotFoundError: If there is none.
    """
    for name in _SETTINGS:
        if (run_dir / name).is_file():
            return run_dir / name
    raise FileNotFoundError(
        f"{run_dir / 'fit.yaml'}: no such file; `prag fit --trainer.default_root_dir {run_dir}` "
        "encodes documents and writes it (a run made in Python has none: give its module, store "
        "and data module to Answerer)"
    )


def latest_run() -> Path:
    """Return the run under ``runs`` that encoded documents last.

    Raises:
        FileNotFoundError: If there is none.
    """
    started = sorted(_RUNS.glob("*/fit.yaml"), key=lambda file: file.stat().st_mtime)
    # A run that trained a warm start has no documents to ask about.
    runs = [file.parent for file in started if not (file.parent / "warm_start").exists()]
    if not runs:
        raise FileNotFoundError(
            f"there is no run in '{_RUNS}' yet; `prag fit` encodes documents and leaves one, or "
            "name the folder of one that lies elsewhere with --run"
        )
    return runs[-1]
