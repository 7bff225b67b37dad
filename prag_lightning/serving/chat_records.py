"""What is asked and answered at ``/v1/chat/completions``, in OpenAI's form with fields of ours."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

ModelName = Literal["prag", "combine", "rag", "closed_book"]
FinishReason = Literal["stop", "length"]

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Weight = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]


class _Given(BaseModel):
    """What a client sends; misspelt fields are refused."""

    model_config = ConfigDict(extra="forbid")


class ContentPart(_Given):
    """A piece of a message; only texts are read."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[ContentPart] | None = None

    @property
    def text(self) -> str:
        """The text of all parts."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(_Given):
    """What a stream holds besides the answer."""

    include_usage: bool = False
    include_obfuscation: bool = False


class PragOptions(_Given):
    """Settings of prag-lightning, in the request's field ``prag``.

    Args:
        weights: The documents whose adapters are merged, with the weight of each, instead of those
            that are found.
    """

    weights: Annotated[dict[str, _Weight], Field(min_length=1, max_length=32)] | None = None


class ChatRequest(_Given):
    """A request for an answer: the last message of the user is the question.

    Fields without an effect on the likeliest answer are taken; others must have the value that
    changes nothing.
    """

    model: str
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    prag: PragOptions = PragOptions()
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[_Finite, Field(ge=0, le=2)] | None = None
    top_p: Annotated[_Finite, Field(gt=0, le=1)] | None = None
    n: int | None = 1
    stop: str | list[str] | None = None
    presence_penalty: _Finite | None = 0
    frequency_penalty: _Finite | None = 0
    logit_bias: dict[str, _Finite] | None = None
    logprobs: bool | None = False
    response_format: dict[str, Any] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    # Without an effect here.
    seed: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None


class DocumentBehind(BaseModel):
    """A document behind an answer.

    Args:
        id: Id of the document.
        title: Its title.
        text: Its text.
        score: Its retrieval score; None if it was not retrieved but given.
        weight: The weight of its adapter; None if its adapter was not merged.
        in_prompt: Whether its text stood in the prompt.
        has_adapter: Whether it has an adapter; None if none was looked for.
    """

    id: str
    title: str
    text: str
    score: float | None
    weight: float | None
    in_prompt: bool
    has_adapter: bool | None


class PragResult(BaseModel):
    """How an answer came about, in the response's field ``prag``.

    Args:
        method: The method that answered.
        prediction: The answer extracted from the text, as it is scored.
        documents: The documents behind it, best first.
        notes: What of the request was not used.
    """

    method: ModelName
    prediction: str
    documents: list[DocumentBehind]
    notes: list[str]


class Usage(BaseModel):
    """Tokens that were read and generated."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    """The message that answers."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """The one answer of a response."""

    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """An answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: ModelName
    choices: list[Choice]
    usage: Usage
    prag: PragResult


class Delta(BaseModel):
    """A piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """A piece of the one answer of a stream."""

    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatChunk(BaseModel):
    """An event of a stream; the last one with a choice also says how the answer came about."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: ModelName
    choices: list[ChunkChoice]
    usage: Usage | None = None
    prag: PragResult | None = None
