"""The settings that a run left in its folder, as what `Answerer` takes."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentParser

from prag_lightning.language_model.embedded import DEMO

if TYPE_CHECKING:
    from prag_lightning.retrieval.base import Retriever

_RUNS = Path("runs")
# Those of `test` say also how it merged.
_SETTINGS = ("test.yaml", "fit.yaml")
_DTYPES = {"bf16-true": "bfloat16", "16-true": "float16"}
_OF_MODEL = ("base", "dtype", "quantization", "max_new_tokens", "trust_remote_code")


def read_run(run_dir: Path) -> dict[str, Any]:
    """Return the arguments of an `Answerer` of the run in a folder.

    With mixed precision the base computes in the dtype of its weights.

    Raises:
        FileNotFoundError: If nothing was run there.
    """
    from prag_lightning.adapters.warm_start import WarmStartSource
    from prag_lightning.retrieval.default_index import find_index

    run = yaml.safe_load(settings_file(run_dir).read_text(encoding="utf-8"))
    trainer, model, data, evaluation = (
        run[key] for key in ("trainer", "model", "data", "evaluation")
    )
    settings = {name: model[name] for name in _OF_MODEL}
    if (dtype := _DTYPES.get(str(trainer["precision"]))) is not None:
        settings["dtype"] = dtype
    if data["retriever"] is not None:
        settings["retriever"] = _make_retriever(data["retriever"])
    folder = run_dir / "data" if data["folder"] == DEMO else Path(data["folder"])
    return {
        **settings,
        "store": model["store"] or run_dir / "adapters",
        "folder": folder,
        "index_dir": find_index(folder, run_dir),
        "merge": evaluation["merge"],
        "temperature": evaluation["temperature"],
        "scoring": evaluation["scoring"],
        "top_k": data["top_k"],
        "max_tokens": data["max_tokens"],
        "batch_size": data["question_batch_size"],
        "template": data["template"],
        "exemplars": data["exemplars"],
        "few_shot_in_training": data["few_shot_in_training"],
        "warm_start": WarmStartSource(**run["warm_start"]),
        "device": "cpu" if trainer["accelerator"] == "cpu" else None,
    }


def _make_retriever(settings: dict[str, Any]) -> "Retriever":
    from prag_lightning.retrieval.base import Retriever

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--retriever", type=Callable[[], Retriever])
    made = parser.instantiate_classes(parser.parse_object({"retriever": settings}))
    retriever: Retriever = made.retriever()
    return retriever


def default_run_dir(data_folder: str) -> Path:
    """Return where the run on a folder of documents lies if nobody says where: ``runs/NAME``."""
    return _RUNS / Path(data_folder).resolve().name


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
        "encodes documents and writes it"
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
