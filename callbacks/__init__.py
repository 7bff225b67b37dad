"""Callbacks around training and evaluation batches."""

from prag_lightning.callbacks.adapter_writer import AdapterWriter
from prag_lightning.callbacks.encoding_log import EncodingLog
from prag_lightning.callbacks.merged_evaluation import MergedEvaluation
from prag_lightning.callbacks.orthogonal import OrthogonalToTask
from prag_lightning.callbacks.progress_bar import UnitProgressBar
from prag_lightning.callbacks.slot_finder import SlotFinder
from prag_lightning.callbacks.storage_check import StorageCheck
from prag_lightning.callbacks.strangers import TrainWithStrangers
from prag_lightning.callbacks.warm_start import WarmStart

__all__ = [
    "AdapterWriter",
    "EncodingLog",
    "MergedEvaluation",
    "OrthogonalToTask",
    "SlotFinder",
    "StorageCheck",
    "TrainWithStrangers",
    "UnitProgressBar",
    "WarmStart",
]
