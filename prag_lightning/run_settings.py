"""The settings that a run left in its folder, as what `Answerer` takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser

from prag_lightning.adapters.warm_start import WarmStartSource
from prag_lightning.data.folder import find_index
from prag_lightning.demo import DEMO
from prag_lightning.retrieval.base import Retriever
from prag_lightning.run_folder import settings_file

_DTYPES = {"bf16-true": "bfloat16", "16-true": "float16"}
_OF_MODEL = ("base", "dtype", "quantization", "max_new_tokens", "trust_remote_code")


def read_run(run_dir: Path) -> dict[str, Any]:
    """Return the arguments of an `Answerer` of the run in a folder.

    With mixed precision the base computes in the dtype of its weights.

    Raises:
        FileNotFoundError: If nothing was run there.
    """
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


def _make_retriever(settings: dict[str, Any]) -> Retriever:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--retriever", type=Callable[[], Retriever])
    made = parser.instantiate_classes(parser.parse_object({"retriever": settings}))
    retriever: Retriever = made.retriever()
    return retriever
