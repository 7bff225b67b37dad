"""The command ``prag augment``: rewrites of documents, and questions with answers about them."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from prag_lightning.augmentation.settings import Order, Sampling
from prag_lightning.cli.exit_status import SOME_FAILED, TRY_AGAIN

if TYPE_CHECKING:
    from prag_lightning.augmentation.runner import Generator


def augment_with_template(
    documents: Path, output: Path | None = None, num_rewrites: int = 1, num_qas: int = 3
) -> None:
    """Augment documents from their own sentences, without a language model: a baseline.

    Args:
        documents: JSON Lines of documents: id (or _id), title, text; or the folder they are in.
        output: JSON Lines of augmentations; by default augmentations.jsonl beside the documents.
            What is in it already is kept, and not made again.
        num_rewrites: Rewrites of each document: its sentences in other orders.
        num_qas: Question-answer pairs about each document.
    """
    from prag_lightning.augmentation.template import TemplateGenerator

    _augment(documents, output, TemplateGenerator(num_rewrites, num_qas))


def augment_with_transformers(
    documents: Path,
    output: Path | None = None,
    model: str = "demo",
    num_rewrites: int = 1,
    num_qas: int = 3,
    max_attempts: int = 5,
    seed: int = 42,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    batch_size: int = 16,
    devices: int = 1,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
) -> None:
    """Augment documents with a language model on this machine.

    Args:
        documents: JSON Lines of documents: id (or _id), title, text; or the folder they are in.
        output: JSON Lines of augmentations; by default augmentations.jsonl beside the documents.
            What is in it already is kept, and not made again.
        model: Hub name or folder of an instruction-tuned model; demo is the embedded one.
        num_rewrites: Rewrites of each document.
        num_qas: Question-answer pairs about each document.
        max_attempts: How often the same is asked, each time with another seed, before the document
            counts as failed.
        seed: Other seeds give other augmentations.
        sampling: How answers are drawn.
        batch_size: Documents at a time on each device.
        devices: How many GPUs (or processes on a CPU), each with a copy of the model.
        dtype: Of the weights; auto keeps that of the files.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from prag_lightning.augmentation.transformers_generator import TransformersGenerator
    from prag_lightning.cli.quiet import quiet

    quiet()
    order = Order(num_rewrites, num_qas, max_attempts, seed)
    generator = TransformersGenerator(model, order, sampling, batch_size, devices, dtype)
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
    _augment(documents, output, generator, rank)


def augment_with_endpoint(
    documents: Path,
    output: Path | None = None,
    url: str = "http://localhost:8000/v1",
    model: str | None = None,
    num_rewrites: int = 1,
    num_qas: int = 3,
    max_attempts: int = 5,
    seed: int = 42,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    concurrency: int = 32,
    timeout_s: float = 120.0,
    api_key_env: str = "OPENAI_API_KEY",
) -> None:
    """Augment documents with a language model behind an OpenAI-compatible server, as vLLM's.

    Needs prag-lightning[endpoint].

    Args:
        documents: JSON Lines of documents: id (or _id), title, text; or the folder they are in.
        output: JSON Lines of augmentations; by default augmentations.jsonl beside the documents.
            What is in it already is kept, and not made again.
        url: Address of the server, up to the version.
        model: The model's name there; may be left out where there is only one.
        num_rewrites: Rewrites of each document.
        num_qas: Question-answer pairs about each document.
        max_attempts: How often the same is asked, each time with another seed, before the document
            counts as failed.
        seed: Other seeds give other augmentations.
        sampling: How answers are drawn.
        concurrency: Requests under way at a time.
        timeout_s: Seconds to wait for an answer.
        api_key_env: Name of the environment variable that holds the API key, if one is needed.
    """
    _require_httpx()
    from prag_lightning.augmentation.endpoint import Endpoint, find_model
    from prag_lightning.augmentation.endpoint_generator import EndpointGenerator

    order = Order(num_rewrites, num_qas, max_attempts, seed)
    endpoint = Endpoint(url, api_key_env, timeout_s)
    name = find_model(endpoint, model)
    generator = EndpointGenerator(endpoint, name, order, sampling, concurrency)
    _augment(documents, output, generator)


def _require_httpx() -> None:
    if find_spec("httpx") is None:
        raise ValueError(
            "augmentation by a server needs httpx; "
            "install it: pip install 'prag-lightning[endpoint]'"
        )


def _augment(documents: Path, output: Path | None, generator: "Generator", rank: int = 0) -> None:
    """Run, print what came of it on rank 0, and end with another status than 0 if it is not all."""
    from prag_lightning.augmentation.outcome_files import failures_file
    from prag_lightning.augmentation.runner import run_augmentation
    from prag_lightning.documents.folder import documents_file
    from prag_lightning.documents.records import Document, read_unique

    documents = documents_file(documents)
    output = output or documents.with_name("augmentations.jsonl")
    todo = read_unique(documents, Document)
    summary = run_augmentation(todo, generator, output, rank)
    if rank == 0:
        print(f"{summary}\naugmentations are in {output}")
        if summary.num_failed:
            print(f"the reasons are in {failures_file(output)}")
    if summary.num_missing:
        sys.exit(TRY_AGAIN)
    if summary.num_failed:
        sys.exit(SOME_FAILED)


AUGMENT_COMMANDS: dict[str, Callable[..., None]] = {
    "template": augment_with_template,
    "transformers": augment_with_transformers,
    "endpoint": augment_with_endpoint,
}
