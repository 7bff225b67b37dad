"""The answers of several methods to one question, shown on a terminal while they are generated."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from prag_lightning.documents.terminal import plain_text

if TYPE_CHECKING:
    from prag_lightning.answerer import Answerer
    from prag_lightning.answering.answers import Answer
    from prag_lightning.answering.requests import AnswerMethod


def ask_all(
    console: Console, answerer: "Answerer", question: str, methods: "Sequence[AnswerMethod]"
) -> "list[Answer]":
    """Return each method's answer; all are generated together.

    Args:
        console: A terminal on which the growing answers are shown meanwhile, or another console.
        answerer: The answerer.
        question: The question.
        methods: The methods.
    """
    texts = {str(method): "" for method in methods}
    live = Live(console=console, transient=True, get_renderable=lambda: answer_table(texts))
    with live if console.is_terminal else nullcontext():
        return asyncio.run(_ask_all(answerer, question, methods, texts))


async def _ask_all(
    answerer: "Answerer",
    question: str,
    methods: "Sequence[AnswerMethod]",
    texts: dict[str, str],
) -> "list[Answer]":
    async def ask(method: "AnswerMethod") -> "Answer":
        async for said in answerer.astream(question, method):
            if not isinstance(said, str):
                return said
            texts[method] += said
        raise asyncio.CancelledError

    return await asyncio.gather(*map(ask, methods))


def answer_table(texts: Mapping[str, str]) -> Table:
    """Return a table of each method's answer."""
    table = Table("method", "answer", header_style="bold")
    for method, text in texts.items():
        table.add_row(method, plain_text(text))
    return table
