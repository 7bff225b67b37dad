"""What a tokenizer's chat template puts around the user's words."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooSlowError
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What templates that print today's date print instead: prompts must not depend on the day. It is
# the date that Llama 3's own template falls back to.
_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}\n"
# A template comes with a model, and may loop for ever.
_PATIENCE = 10.0
_OTHER = "use a tokenizer with another template, or with none"


def chat_frame(tokenizer: "PreTrainedTokenizerBase") -> tuple[list[int], list[int]]:
    """Return the token ids before and after the user's words; the assistant's come next.

    Raises:
        ValueError: If the chat template fails, does not end, or leaves the user's words out.
    """
    if tokenizer.chat_template is None:
        newline = tokenizer("\n", add_special_tokens=False).input_ids
        return tokenizer("").input_ids, newline
    mark = "\u2403user\u2403"
    head, found, tail = _render(tokenizer, mark).partition(mark)
    if not found:
        raise ValueError(f"{_whose(tokenizer)} leaves the user's words out; {_OTHER}")
    return (
        tokenizer(head, add_special_tokens=False).input_ids,
        tokenizer(tail, add_special_tokens=False).input_ids,
    )


def _render(tokenizer: "PreTrainedTokenizerBase", user: str) -> str:
    """Return a chat with the user's turn in it, up to where the assistant's begins."""
    template = _DATE + tokenizer.get_chat_template()

    def render() -> str:
        return str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": user}],
                chat_template=template,
                tokenize=False,
                add_generation_prompt=True,
            )
        )

    try:
        return _within(_PATIENCE, render)
    except TooSlowError as error:
        raise ValueError(
            f"{_whose(tokenizer)} is not done after {_PATIENCE:g} seconds; {_OTHER}"
        ) from error
    except Exception as error:  # The template is a program that is not ours.
        raise ValueError(f"{_whose(tokenizer)} fails ({error}); {_OTHER}") from error


def _whose(tokenizer: "PreTrainedTokenizerBase") -> str:
    return f"the chat template of {tokenizer.name_or_path}"


def _within(seconds: float, call: Callable[[], str]) -> str:
    """Return what ``call`` returns, unless it takes longer: it then goes on for nothing.

    Raises:
        TooSlowError: If it does.
    """
    result: Future[str] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except Exception as error:
            result.set_exception(error)

    # A daemon, so that the process need not wait for it at its end.
    Thread(target=run, daemon=True).start()
    return result.result(seconds)
