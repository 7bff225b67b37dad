"""Retrievers by short name or class path, as settings name them."""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from prag_lightning.documents.folder import corpus_file
from prag_lightning.retrieval.address import redacted, without_passwords
from prag_lightning.retrieval.base import Retriever
from prag_lightning.retrieval.default_index import open_index

SHORT_NAMES = {
    "bm25": "prag_lightning.retrieval.bm25.BM25Retriever",
    "dense": "prag_lightning.retrieval.dense.DenseRetriever",
    "elasticsearch": "prag_lightning.retrieval.elasticsearch.ElasticsearchRetriever",
    "given": "prag_lightning.retrieval.given.GivenRetriever",
    "run_file": "prag_lightning.retrieval.run_file.RunFileRetriever",
}
_ADDRESS = re.compile(r"\w[\w+.-]*://[^\s'\"]+")
DENSE_INDEX = "dense_index"
RUN_FILE = "retrieved.trec"


def make_retriever(
    spec: Retriever | str | Mapping[str, Any] | None, folder: Path, index_dir: Path
) -> Retriever:
    """Return the retriever that a setting means.

    Args:
        spec: A retriever; the short name or class path of one; or a mapping of ``class_path``, one
            of these, and ``init_args``, what its constructor takes. None means ``bm25``. Short
            names know where things lie in ``folder``: ``dense`` takes ``dense_index``, and
            ``run_file`` takes ``retrieved.trec``.
        folder: The documents.
        index_dir: The BM25 index of ``bm25``, built where it is missing.

    Raises:
        FileNotFoundError: If an index or a file is not there.
        ValueError: If there is no such retriever, or it does not take these ``init_args``.
    """
    if isinstance(spec, Retriever):
        return spec
    name, init_args = _parts("bm25" if spec is None else spec)
    if name == "bm25" and not init_args:
        return open_index(folder, index_dir)
    defaults: dict[str, dict[str, Any]] = {
        "dense": {
            "index_dir": str(folder / DENSE_INDEX),
            "corpus_file": str(corpus_file(folder)),
        },
        "run_file": {"run_file": str(folder / RUN_FILE)},
    }
    return _instantiate(_find_class(name), {**defaults.get(name, {}), **init_args}, name)


def _parts(spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments in a setting."""
    settings = dict(spec) if isinstance(spec, Mapping) else {"class_path": spec}
    name, init_args = settings.pop("class_path", None), settings.pop("init_args", None) or {}
    if not isinstance(name, str) or not isinstance(init_args, Mapping) or settings:
        raise ValueError(
            f"retriever {without_passwords(spec)!r} must be a name, or a mapping of class_path "
            f"and init_args; names are {', '.join(SHORT_NAMES)}"
        )
    return name, dict(init_args)


def _find_class(name: str) -> type[Retriever]:
    path = SHORT_NAMES.get(name, name)
    module, _, class_name = path.rpartition(".")
    if not module or not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(
            f"there is no retriever '{name}'; choose {', '.join(SHORT_NAMES)}, or give the class "
            "path of your own, as my_module.MyRetriever"
        )
    try:
        found = getattr(import_module(module), class_name, None)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"retriever '{name}' cannot be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, Retriever)):
        raise ValueError(
            f"'{name}' is no retriever; it must be a class derived from "
            "prag_lightning.retrieval.base.Retriever"
        )
    return found


def _instantiate(retriever: type[Retriever], init_args: dict[str, Any], name: str) -> Retriever:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(retriever, "retriever")
    try:
        settings = parser.parse_object({"retriever": init_args})
    except ArgumentError as error:
        reason = _ADDRESS.sub(lambda address: redacted(address[0]), str(error))
        raise ValueError(f"retriever '{name}': {' '.join(reason.split())}") from error
    made = parser.instantiate(settings).retriever
    assert isinstance(made, Retriever)
    return made
