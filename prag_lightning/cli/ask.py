"""The command ``prag ask``: each method's answer to a question, and the documents behind it."""

import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveInt

from prag_lightning.answering.from_run import latest_run, settings_file
from prag_lightning.cli.exit_status import INTERRUPTED
from prag_lightning.cli.suggestion import did_you_mean
from prag_lightning.cli.uncollected import uncollected

if TYPE_CHECKING:
    from rich.console import Console

    from prag_lightning.answerer import Answerer
    from prag_lightning.answering.answers import Answer

METHODS: list[str] = ["closed_book", "rag", "prag", "combine"]
_LAST_WORDS = ("exit", "quit")
# A run of `prag fit` handles these in its own way.
_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def run_ask(args: Sequence[str]) -> int:
    """Run ``prag ask`` and return its exit status."""
    from prag_lightning.cli.one_line_parser import OneLineParser

    parser = OneLineParser(prog="prag ask", description="Answer questions from a run's documents.")
    parser.add_argument("question", nargs="?", type=str | None, help="What is asked.")
    parser.add_argument(
        "--interactive",
        action="store_true",
        help="Ask for questions, one a line, until `exit`; on a terminal also if none is given.",
    )
    encode_help = "First encode those documents found that have no adapter."
    names = ("--encode_missing", "--encode-missing")
    parser.add_argument(*names, action="store_true", help=encode_help)
    ours: set[str | int] = {"question", "interactive", "encode_missing"}
    parser.add_function_arguments(ask, as_group=False, skip=ours)
    ask(**vars(parser.parse_args(list(args))))
    return 0


def ask(
    question: str | None = None,
    interactive: bool = False,
    encode_missing: bool = False,
    run: Path | None = None,
    methods: str | list[str] = METHODS,
    merge: str | None = None,
    top_k: PositiveInt | None = None,
) -> None:
    """Print each method's answer, and the documents behind it with their scores and weights.

    Args:
        question: The question.
        interactive: Read questions, one per line, until `exit` or Ctrl-D; Ctrl-C gives up the
            present one. On a terminal this is the default if there is no question.
        encode_missing: Encode retrieved documents that have no adapter, with the run's settings;
            documents without an augmentation get one from templates.
        run: Root folder of a run of `prag fit` (and possibly `prag test`), whose settings are used.
            By default it is the latest under `runs`.
        methods: Methods that answer: a comma-separated string or a list.
        merge: How adapters are weighted; by default as in the run.
        top_k: How many documents are retrieved; by default as in the run.

    Raises:
        FileNotFoundError: If there is no such run.
        ValueError: If there is nothing to answer.
    """
    interactive = interactive or (question is None and sys.stdin.isatty())
    if not interactive and not (question or "").strip():
        raise ValueError("there is no question; give one in quotes, or --interactive")
    chosen = _chosen_methods(methods)
    # Fail before the libraries are imported, which takes seconds.
    run_dir = latest_run() if run is None else run
    settings_file(run_dir)
    changes = {"merge": merge, "top_k": top_k}
    given = {name: value for name, value in changes.items() if value is not None}
    from prag_lightning.documents.terminal import open_console

    console = open_console()
    with console.status(f"loading {run_dir}"):
        with uncollected():
            from prag_lightning.answerer import Answerer
        from prag_lightning.cli.quiet import quiet

        quiet()
        answerer = Answerer.from_run(run_dir, **given)
    from prag_lightning.cli.live_answers import ask_all

    remedy = "" if encode_missing else "; --encode-missing encodes them"
    with answerer:
        for text in _questions(question, interactive):
            try:
                if encode_missing:
                    _encode_missing(answerer, text, run_dir)
                answers = ask_all(console, answerer, text, chosen)
            except KeyboardInterrupt:
                if not interactive:
                    raise
                console.print("given up")
                continue
            _show(console, answers, answerer, remedy)


def _chosen_methods(methods: str | list[str]) -> list[Any]:
    names = [name.strip() for name in (methods.split(",") if isinstance(methods, str) else methods)]
    for name in names or [""]:
        if name not in METHODS:
            hint = did_you_mean(name, METHODS, f"choose from {', '.join(METHODS)}")
            raise ValueError(f"there is no method '{name}' to ask; {hint}")
    return names


def _questions(question: str | None, interactive: bool) -> Iterator[str]:
    if question and question.strip():
        yield question.strip()
    if interactive:
        # Enables line editing and history in `input`.
        import readline  # noqa: F401
    while interactive:
        try:
            line = input("question: ").strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print("\nCtrl-D or `exit` ends the session")
            continue
        if line in _LAST_WORDS:
            return
        if line:
            yield line


def _show(
    console: "Console", answers: "Sequence[Answer]", answerer: "Answerer", remedy: str
) -> None:
    """Print one question's answers, and then the documents that any of them used.

    Args:
        console: The console to print on.
        answers: One answer of each method.
        answerer: The answerer that gave them.
        remedy: Advice on documents that have no adapter.
    """
    from rich.table import Table

    from prag_lightning.cli.live_answers import answer_table
    from prag_lightning.documents.terminal import plain_text

    console.print(answer_table({answer.method: answer.prediction for answer in answers}))
    scores = {e.document_id: e.score for a in answers for e in (*a.passages, *a.missing)}
    scores |= {e.document_id: e.score for a in answers for e in a.adapters}
    if not scores:
        if any(answer.method != "closed_book" for answer in answers):
            console.print("no document was found")
        return
    weights = {e.document_id: e.weight for a in answers for e in a.adapters}
    missing = [e.document_id for e in max((a.missing for a in answers), key=len)]
    table = Table(header_style="bold", expand=True)
    for column in ("document", "score", "weight"):
        table.add_column(column, no_wrap=True)
    # The beginning of each document, in the remaining width.
    table.add_column("text", no_wrap=True, ratio=1)
    for name, score in sorted(scores.items(), key=lambda pair: -pair[1]):
        weight = weights.get(name)
        shown = "no adapter" if name in missing else "" if weight is None else f"{weight:.3f}"
        text = answerer.documents[name].text
        table.add_row(plain_text(name), f"{score:.2f}", shown, plain_text(text))
    console.print(table)
    if missing:
        console.print(plain_text(f"without an adapter: {', '.join(missing)}{remedy}"))


def _encode_missing(answerer: "Answerer", question: str, run_dir: Path) -> None:
    """Encode retrieved documents that have no adapter, by a run of ``prag fit``."""
    from prag_lightning.augmentation.late_documents import augment_late, fit_words
    from prag_lightning.cli.trainer import run_trainer_command
    from prag_lightning.documents.adding import AUGMENTATIONS

    found = answerer.retrieve([question])[0]
    missing = [d.document_id for d in found if d.document_id not in answerer.store]
    if not missing:
        return
    documents = [answerer.documents[document_id] for document_id in missing]
    late = augment_late(documents, answerer.data.source.folder / AUGMENTATIONS)
    for failure in late.failures:
        print(f"{failure.document_id}: cannot be augmented: {failure.reason}", file=sys.stderr)
    if not late.documents:
        return
    with TemporaryDirectory() as folder:
        late.write(Path(folder))
        words = fit_words(run_dir, Path(folder), answerer.store.files.place, len(late.documents))
        handlers = {signum: signal.getsignal(signum) for signum in _HANDLED}
        try:
            status = run_trainer_command(words)
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
    answerer.refresh()
    if status == INTERRUPTED:
        raise KeyboardInterrupt
