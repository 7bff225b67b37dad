"""Readers of external data sets, by format name."""

from prag_lightning.documents.entries import Entry, Reader
from prag_lightning.documents.formats.beir import read_beir
from prag_lightning.documents.formats.complexwebquestions import read_complexwebquestions
from prag_lightning.documents.formats.dpr import read_dpr
from prag_lightning.documents.formats.flashrag import read_flashrag
from prag_lightning.documents.formats.json_lines import JsonLines
from prag_lightning.documents.formats.multihop import read_2wikimultihopqa, read_hotpotqa
from prag_lightning.documents.formats.popqa import read_popqa
from prag_lightning.documents.formats.published import read_published
from prag_lightning.documents.formats.squad import read_squad
from prag_lightning.documents.formats.text import TextFiles

FORMATS: dict[str, Reader] = {
    "2wikimultihopqa": read_2wikimultihopqa,
    "beir": read_beir,
    "complexwebquestions": read_complexwebquestions,
    "dpr": read_dpr,
    "flashrag": read_flashrag,
    "hotpotqa": read_hotpotqa,
    "jsonl": JsonLines(),
    "popqa": read_popqa,
    "published": read_published,
    "squad": read_squad,
    "text": TextFiles(),
}
# Formats without questions.
CORPORA = frozenset({"dpr", "jsonl", "text"})

__all__ = ["CORPORA", "FORMATS", "Entry", "Reader"]
