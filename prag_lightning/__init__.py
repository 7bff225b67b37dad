"""Parametric retrieval-augmented generation on Lightning: documents as LoRA adapters."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prag_lightning.adapters.layout import LoraConfig as LoraConfig
    from prag_lightning.adapters.merge import MergeRule as MergeRule
    from prag_lightning.adapters.merge import MergeWeights as MergeWeights
    from prag_lightning.adapters.store.opening import open_store as open_store
    from prag_lightning.answerer import Answerer as Answerer
    from prag_lightning.answering.scoring import Scoring as Scoring
    from prag_lightning.augmentation.base import Augmenter as Augmenter
    from prag_lightning.callbacks.adapter_writer import AdapterWriter as AdapterWriter
    from prag_lightning.callbacks.encoding_log import EncodingLog as EncodingLog
    from prag_lightning.callbacks.merged_evaluation import MergedEvaluation as MergedEvaluation
    from prag_lightning.callbacks.orthogonal import OrthogonalToTask as OrthogonalToTask
    from prag_lightning.callbacks.progress_bar import UnitProgressBar as UnitProgressBar
    from prag_lightning.callbacks.slot_finder import SlotFinder as SlotFinder
    from prag_lightning.callbacks.strangers import TrainWithStrangers as TrainWithStrangers
    from prag_lightning.callbacks.warm_start import WarmStart as WarmStart
    from prag_lightning.datamodule import DocumentDataModule as DocumentDataModule
    from prag_lightning.documents.rankings import RetrievedDocument as RetrievedDocument
    from prag_lightning.documents.records import Augmentation as Augmentation
    from prag_lightning.documents.records import Document as Document
    from prag_lightning.documents.records import Question as Question
    from prag_lightning.documents.records import QuestionAnswer as QuestionAnswer
    from prag_lightning.encoding.objectives import Objective as Objective
    from prag_lightning.language_model.templates import PromptTemplate as PromptTemplate
    from prag_lightning.module import ParametricRAG as ParametricRAG
    from prag_lightning.retrieval.base import Retriever as Retriever

__version__ = "0.1.0"

# Where each public name is; it is imported when it is asked for, for torch takes seconds.
_PLACES = {
    "AdapterWriter": "callbacks.adapter_writer",
    "Answerer": "answerer",
    "Augmentation": "documents.records",
    "Augmenter": "augmentation.base",
    "Document": "documents.records",
    "DocumentDataModule": "datamodule",
    "EncodingLog": "callbacks.encoding_log",
    "LoraConfig": "adapters.layout",
    "MergeRule": "adapters.merge",
    "MergeWeights": "adapters.merge",
    "MergedEvaluation": "callbacks.merged_evaluation",
    "Objective": "encoding.objectives",
    "OrthogonalToTask": "callbacks.orthogonal",
    "ParametricRAG": "module",
    "PromptTemplate": "language_model.templates",
    "Question": "documents.records",
    "QuestionAnswer": "documents.records",
    "RetrievedDocument": "documents.rankings",
    "Retriever": "retrieval.base",
    "Scoring": "answering.scoring",
    "SlotFinder": "callbacks.slot_finder",
    "TrainWithStrangers": "callbacks.strangers",
    "UnitProgressBar": "callbacks.progress_bar",
    "WarmStart": "callbacks.warm_start",
    "open_store": "adapters.store.opening",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    """Return what is public by its name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"prag_lightning.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*globals(), *__all__]
