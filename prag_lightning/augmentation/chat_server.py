"""Client for chat completions over HTTP."""

from collections.abc import Mapping

import httpx
from pydantic import BaseModel

from prag_lightning.augmentation.endpoint import BROKEN, PASSING_STATUSES, Endpoint, describe
from prag_lightning.augmentation.outcomes import Usage
from prag_lightning.augmentation.requests import Reply, Request
from prag_lightning.augmentation.settings import Sampling, TemplateSetting

# Without these, servers such as vLLM apply the model's own generation config.
_NEUTRAL = {"repetition_penalty": 1.0, "min_p": 0.0}


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Tokens(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Tokens | None = None


class ChatServer:
    """Sends requests to a server; a context manager that keeps connections open.

    Args:
        endpoint: The server.
        model: Name of the model on the server.
        sampling: Sampling settings.
        template_settings: Variables of the model's chat template. If there are none, the field is
            not sent, because OpenAI's own servers reject it.
        concurrency: Maximum number of connections.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        sampling: Sampling,
        template_settings: Mapping[str, TemplateSetting],
        concurrency: int,
    ) -> None:
        self._endpoint = endpoint
        self._model = model
        self._sampling = sampling
        self._template_settings = dict(template_settings)
        self._client = endpoint.open(concurrency, _require_completion)

    async def __aenter__(self) -> "ChatServer":
        """Return the client."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def complete(self, request: Request) -> Reply:
        """Return the model's answer.

        Raises:
            ConnectionError: If the server cannot be reached any more.
            ValueError: If it rejects the API key.
        """
        try:
            answer = await self._client.post("chat/completions", json=self._body(request))
            if answer.status_code == httpx.codes.OK:
                return _read_completion(answer.content)
            problem = self._explain(answer)
            if answer.status_code not in PASSING_STATUSES:
                return Reply(text="", problem=problem)
        except BROKEN as error:
            problem = describe(error)
        # Check whether the server is down or only this request fails.
        await self._endpoint.fetch_models(self._client)
        return Reply(text="", problem=f"{problem}, {self._endpoint.max_tries} times")

    def _body(self, request: Request) -> dict[str, object]:
        turns = [("user", request.prompt)]
        for example in reversed(request.examples):
            turns = [("user", example.user), ("assistant", example.assistant), *turns]
        body: dict[str, object] = {
            "model": self._model,
            "messages": [{"role": role, "content": text} for role, text in turns],
            "temperature": self._sampling.temperature,
            "top_p": self._sampling.top_p,
            "max_tokens": self._sampling.most_tokens(request.is_short),
            "seed": request.seed,
        }
        # Not part of OpenAI's API, whose servers reject unknown fields.
        if self._sampling.top_k:
            body |= {"top_k": self._sampling.top_k, **_NEUTRAL}
        if self._template_settings:
            body["chat_template_kwargs"] = self._template_settings
        return body

    def _explain(self, answer: httpx.Response) -> str:
        self._endpoint.check_key(answer)
        words = " ".join(answer.text.split())[:300]
        if self._endpoint.api_key:
            words = words.replace(self._endpoint.api_key, "***")
        return f"status {answer.status_code} from {self._endpoint.address}: {words}"


async def _require_completion(answer: httpx.Response) -> None:
    """Read a response completely, so that a broken one is detected while it can be retried.

    Raises:
        ValidationError: If it is not a chat completion.
    """
    content = await answer.aread()
    if answer.status_code == httpx.codes.OK:
        _Completion.model_validate_json(content)


def _read_completion(content: bytes) -> Reply:
    completion = _Completion.model_validate_json(content)
    tokens = completion.usage or _Tokens()
    choice = completion.choices[0] if completion.choices else _Choice(message=_Message())
    return Reply(
        text=choice.message.content or "",
        usage=Usage(1, tokens.prompt_tokens, tokens.completion_tokens),
        is_cut=choice.finish_reason == "length",
    )
