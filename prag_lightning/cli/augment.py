"""The command ``prag augment``: rewrites of documents, and question-answer pairs about them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prag_lightning.augmentation.settings import Answers, Order, Pairs, Sampling, TemplateSetting
from prag_lightning.cli.exit_status import SOME_FAILED, TRY_AGAIN
from prag_lightning.clusters.workers import RayWorkers

if TYPE_CHECKING:
    from prag_lightning.augmentation.base import Augmenter

Engine = Literal["local", "ray"]


def augment_with_template(
    documents: Path, output: Path | None = None, num_rewrites: int = 1, num_qas: int = 3
) -> None:
    """Augment documents from their own sentences, without a language model: a baseline.

    Args:
        documents: JSON Lines of documents (id or _id, title, text), or the folder of the file.
        output: JSON Lines of augmentations; by default augmentations.jsonl beside the documents.
            Existing entries are kept unless their document has changed.
        num_rewrites: Rewrites of each document: its sentences in other orders.
        num_qas: Question-answer pairs about each document.
    """
    from prag_lightning.augmentation.template import TemplateAugmenter

    _augment(documents, output, TemplateAugmenter(num_rewrites, num_qas))


def augment_with_transformers(
    documents: Path,
    output: Path | None = None,
    model: str = "demo",
    num_rewrites: int = 1,
    num_qas: int = 3,
    num_summaries: int = 0,
    num_facts: int = 0,
    num_implications: int = 0,
    num_unanswerable: int = 0,
    pairs: Pairs = "list",
    answers: Answers = "with_questions",
    questions: Path | None = None,
    grounded: bool = True,
    max_attempts: int = 5,
    seed: int = 42,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    batch_size: int = 16,
    devices: int = 1,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    chat_template_kwargs: dict[str, TemplateSetting] | None = None,
    engine: Engine = "local",
    ray: RayWorkers = RayWorkers(),  # noqa: B008 - frozen
) -> None:
    """Augment documents with a language model on this machine, or on those of a Ray cluster.

    Args:
        documents: JSON Lines of documents (id or _id, title, text), or the folder of the file.
        output: JSON Lines of augmentations; by default augmentations.jsonl beside the documents.
            Existing entries are kept unless their document has changed.
        model: Hub name or folder of an instruction-tuned model; demo is the embedded one.
        num_rewrites: Rewrites of each document.
        num_qas: Question-answer pairs about each document.
        num_summaries: Summaries of each document, kept as further rewrites.
        num_facts: Lists of the facts in each document, kept as further rewrites.
        num_implications: Lists of what follows from each document, kept as further rewrites.
        num_unanswerable: Questions that each document does not answer, for
            `--data.num_unanswerable`.
        pairs: How to request pairs. list: all at once, as published, and one at a time if
            that fails twice. one_by_one: one at a time, which small models can do.
        answers: Where answers come from. with_questions: from the same reply, as published.
            by_themselves: each from a further request with the document in its prompt.
        questions: Augmentations, of another model, say, whose questions are answered, each with the
            document in the prompt; num_qas then has no effect.
        grounded: Reject pairs and texts with names or numbers that are not in the document.
        max_attempts: Most attempts at each request, each with another seed.
        seed: Seed of the sampling.
        sampling: How answers are drawn.
        batch_size: Number of documents at once on each device.
        devices: Number of GPUs (or of processes on a CPU), each with a copy of the model.
        dtype: Data type of the weights; auto keeps that of the files. bfloat16 is faster on GPUs
            and on recent server CPUs.
        chat_template_kwargs: Variables of the model's chat template, such as reasoning_effort.
            Thinking is turned off by default.
        engine: Where the model is: in this process, or in each worker of a Ray cluster.
        ray: The workers of the Ray cluster.
    """
    from lightning.pytorch.utilities import rank_zero_only

    from prag_lightning.augmentation.transformers_augmenter import TransformersAugmenter
    from prag_lightning.cli.quiet import quiet

    quiet()
    order = Order(
        num_rewrites,
        num_qas,
        max_attempts,
        seed,
        pairs,
        grounded,
        num_summaries,
        num_facts,
        answers,
        num_implications,
        num_unanswerable,
        questions,
    )
    augmenter = TransformersAugmenter(
        model, order, sampling, batch_size, devices, dtype, chat_template_kwargs
    )
    # A single process always has rank 0.
    rank: int = rank_zero_only.rank if devices > 1 else 0  # type: ignore[attr-defined]
    with _on_engine(augmenter, engine, ray) as on_engine:
        _augment(documents, output, on_engine, rank)


def augment_with_endpoint(
    documents: Path,
    output: Path | None = None,
    url: str = "http://localhost:8000/v1",
    model: str | None = None,
    num_rewrites: int = 1,
    num_qas: int = 3,
    num_summaries: int = 0,
    num_facts: int = 0,
    num_implications: int = 0,
    num_unanswerable: int = 0,
    pairs: Pairs = "list",
    answers: Answers = "with_questions",
    questions: Path | None = None,
    grounded: bool = True,
    max_attempts: int = 5,
    seed: int = 42,
    sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    concurrency: int = 32,
    timeout_s: float = 120.0,
    api_key_env: str = "OPENAI_API_KEY",
    chat_template_kwargs: dict[str, TemplateSetting] | None = None,
) -> None:
    """Augment documents with a language model behind an OpenAI-compatible server, such as vLLM.

    Needs prag-lightning[endpoint].

    Args:
        documents: JSON Lines of documents (id or _id, title, text), or the folder of the file.
        output: JSON Lines of augmentations; by default augmentations.jsonl beside the documents.
            Existing entries are kept unless their document has changed.
        url: Address of the server, up to and including the API version.
        model: The model's name on the server; may be omitted if there is only one.
        num_rewrites: Rewrites of each document.
        num_qas: Question-answer pairs about each document.
        num_summaries: Summaries of each document, kept as further rewrites.
        num_facts: Lists of the facts in each document, kept as further rewrites.
        num_implications: Lists of what follows from each document, kept as further rewrites.
        num_unanswerable: Questions that each document does not answer, for
            `--data.num_unanswerable`.
        pairs: How to request pairs. list: all at once, as published, and one at a time if
            that fails twice. one_by_one: one at a time, which small models can do.
        answers: Where answers come from. with_questions: from the same reply, as published.
            by_themselves: each from a further request with the document in its prompt.
        questions: Augmentations, of another model, say, whose questions are answered, each with the
            document in the prompt; num_qas then has no effect.
        grounded: Reject pairs and texts with names or numbers that are not in the document.
        max_attempts: Most attempts at each request, each with another seed.
        seed: Seed of the sampling.
        sampling: Sampling settings. With top_k 0, only fields known to OpenAI's servers are sent.
        concurrency: Number of concurrent requests.
        timeout_s: Seconds to wait for an answer.
        api_key_env: Name of the environment variable that holds the API key, if one is needed.
        chat_template_kwargs: Variables of the model's chat template, for servers that accept this
            field, such as vLLM and SGLang; enable_thinking false turns thinking off.
    """
    _require_httpx()
    from prag_lightning.augmentation.endpoint import Endpoint
    from prag_lightning.augmentation.endpoint_augmenter import EndpointAugmenter

    order = Order(
        num_rewrites,
        num_qas,
        max_attempts,
        seed,
        pairs,
        grounded,
        num_summaries,
        num_facts,
        answers,
        num_implications,
        num_unanswerable,
        questions,
    )
    endpoint = Endpoint(url, api_key_env, timeout_s)
    augmenter = EndpointAugmenter(
        endpoint, model, order, sampling, concurrency, chat_template_kwargs
    )
    _augment(documents, output, augmenter)


def augment_with_class(
    documents: Path,
    augmenter: str,
    output: Path | None = None,
    init_args: dict[str, Any] | None = None,
    engine: Engine = "local",
    ray: RayWorkers = RayWorkers(),  # noqa: B008 - frozen
) -> None:
    """Augment documents with a class of your own, derived from Augmenter.

    Args:
        documents: JSON Lines of documents (id or _id, title, text), or the folder of the file.
        augmenter: The class, such as my_module.MyAugmenter; the working directory is searched, too.
        output: JSON Lines of augmentations; by default augmentations.jsonl beside the documents.
            Existing entries are kept unless their document has changed.
        init_args: Arguments of the class's constructor, such as --init_args.num_qas 5.
        engine: Where the class is: in this process, or in each worker of a Ray cluster.
        ray: The workers of the Ray cluster.
    """
    spec = {"class_path": augmenter, "init_args": init_args or {}}
    with _on_engine(spec, engine, ray) as on_engine:
        _augment(documents, output, on_engine)


@contextmanager
def _on_engine(
    augmenter: "Augmenter | dict[str, Any]", engine: Engine, workers: RayWorkers
) -> Iterator["Augmenter"]:
    """Make the augmenter, or one that hands the documents to the workers of a Ray cluster."""
    from prag_lightning.augmentation.by_name import make_augmenter

    if engine == "local":
        if workers != RayWorkers():
            raise ValueError("the settings under 'ray' need --engine ray")
        yield make_augmenter(augmenter)
        return
    from prag_lightning.cli.ray_engine import ending_at_sigterm
    from prag_lightning.clusters.ray_augmenter import RayAugmenter

    with ending_at_sigterm():
        yield RayAugmenter(augmenter, workers)


def _require_httpx() -> None:
    if find_spec("httpx") is None or find_spec("httpx_retries") is None:
        raise ValueError(
            "augmentation by a server needs httpx and httpx-retries; "
            "install them: pip install 'prag-lightning[endpoint]'"
        )


def _augment(documents: Path, output: Path | None, augmenter: "Augmenter", rank: int = 0) -> None:
    """Augment, print a summary on rank 0, and exit with a status other than 0 if any failed."""
    from prag_lightning.augmentation.outcome_files import dropped_file, failures_file
    from prag_lightning.augmentation.runner import run_augmentation
    from prag_lightning.documents.folder import documents_file
    from prag_lightning.documents.records import Document, read_unique

    documents = documents_file(documents)
    output = output or documents.with_name("augmentations.jsonl")
    summary = run_augmentation(read_unique(documents, Document), augmenter, output, rank)
    if rank == 0:
        print(f"{summary}\naugmentations are in {output}")
        if summary.num_failed or summary.num_in_part:
            print(f"the reasons are in {failures_file(output)}")
        if summary.usage.num_ungrounded:
            print(f"what documents do not say is in {dropped_file(output)}")
    if summary.num_missing:
        sys.exit(TRY_AGAIN)
    if summary.num_failed:
        sys.exit(SOME_FAILED)


AUGMENT_COMMANDS: dict[str, Callable[..., None]] = {
    "template": augment_with_template,
    "transformers": augment_with_transformers,
    "endpoint": augment_with_endpoint,
    "class": augment_with_class,
}
