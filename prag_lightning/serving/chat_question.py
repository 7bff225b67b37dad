"""Reads a question out of a request for a chat completion, or says why it cannot be answered."""

from collections.abc import Mapping
from typing import NamedTuple, get_args

from prag_lightning.serving.chat_records import ChatRequest, Message, ModelName
from prag_lightning.serving.errors import RefusalError

MODELS: tuple[ModelName, ...] = get_args(ModelName)
_MERGING: tuple[ModelName, ...] = ("prag", "combine")


class ChatQuestion(NamedTuple):
    """A question, and how it is answered.

    Args:
        text: The question.
        method: The method that answers.
        weights: The documents to merge, with their weights; None for those that are found.
        max_tokens: Longest answer, in tokens; None for the run's limit.
        notes: What of the request is not used.
    """

    text: str
    method: ModelName
    weights: Mapping[str, float] | None
    max_tokens: int | None
    notes: list[str]


def read_question(request: ChatRequest, max_characters: int) -> ChatQuestion:
    """Return the question of a request.

    Args:
        request: The request.
        max_characters: Longest question.

    Raises:
        RefusalError: If the request asks for what this service does not do.
    """
    method = require_model(request.model)
    _refuse_unsupported(request)
    *earlier, last = request.messages
    if last.role != "user" or not last.text.strip():
        raise _refused("messages", "the last message must be the question, with the role user")
    text = last.text.strip()
    if len(text) > max_characters:
        raise RefusalError(
            413,
            f"the question has {len(text):,} characters, and may have {max_characters:,}",
            param="messages",
            code="context_length_exceeded",
        )
    weights = request.prag.weights
    if weights is not None and method not in _MERGING:
        raise _refused(
            "prag.weights", f"{method} merges no adapters; ask prag or combine to use weights"
        )
    max_tokens = request.max_completion_tokens or request.max_tokens
    return ChatQuestion(text, method, weights, max_tokens, _notes(earlier))


def require_model(name: str) -> ModelName:
    """Return a name of a method as such.

    Raises:
        RefusalError: If there is no such method.
    """
    for model in MODELS:
        if model == name:
            return model
    known = ", ".join(MODELS)
    raise RefusalError(
        404,
        f"there is no model '{name}'; the methods are the models: {known}",
        param="model",
        code="model_not_found",
    )


def _notes(earlier: list[Message]) -> list[str]:
    notes = []
    if any(message.role in ("system", "developer") for message in earlier):
        notes.append("system messages are not read: the prompt is the one that the run trained on")
    if any(message.role in ("user", "assistant") for message in earlier):
        notes.append("earlier messages are not read: each question is answered by itself")
    return notes


def _refuse_unsupported(request: ChatRequest) -> None:
    """Refuse settings that would change the answer, which is the likeliest one in plain text."""
    if request.temperature:
        raise _refused("temperature", "answers are the likeliest ones; leave it out, or give 0")
    if request.n not in (None, 1):
        raise _refused("n", "there is one likeliest answer; leave it out, or give 1")
    for name in ("presence_penalty", "frequency_penalty", "logit_bias", "stop", "logprobs"):
        if getattr(request, name):
            raise _refused(name, "it is not supported; leave it out")
    if request.tools:
        raise _refused("tools", "tools are not supported; leave them out")
    kind = (request.response_format or {"type": "text"}).get("type")
    if kind != "text":
        raise _refused("response_format", "answers are plain text; leave it out")


def _refused(field: str, reason: str) -> RefusalError:
    return RefusalError(400, f"field '{field}': {reason}", param=field, code="unsupported_value")
