"""Chat completions over plain HTTP, patient with a server that is busy or stumbles."""

import asyncio
import random

import httpx
from pydantic import BaseModel, ValidationError

from prag_lightning.augmentation.draft import Reply, Request, Usage
from prag_lightning.augmentation.endpoint import PASSING_STATUSES, Endpoint, describe
from prag_lightning.augmentation.settings import Sampling
from prag_lightning.retrieval.retry_after import seconds_of

_LONGEST_WAIT_S = 300.0


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
    """Sends requests to a server; a context that keeps connections open.

    Args:
        endpoint: Where it is.
        model: The model's name there.
        sampling: How its answers are drawn. What is not said there, as ``top_p``, is left to the
            server, which takes it from the model's own generation config.
        concurrency: Connections at most.
    """

    def __init__(
        self, endpoint: Endpoint, model: str, sampling: Sampling, concurrency: int
    ) -> None:
        self._endpoint = endpoint
        self._model = model
        self._sampling = sampling
        self._client = endpoint.open(concurrency)

    async def __aenter__(self) -> "ChatServer":
        """Begin."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def complete(self, request: Request) -> Reply:
        """Return the model's answer.

        Raises:
            ConnectionError: If the server is gone.
            ValueError: If it refuses the API key.
        """
        problem = ""
        for number in range(1, self._endpoint.max_tries + 1):
            retry_after = None
            try:
                answer = await self._client.post("chat/completions", json=self._body(request))
                if answer.status_code == httpx.codes.OK:
                    return _read_completion(answer.content)
                problem = self._explain(answer)
                if answer.status_code not in PASSING_STATUSES:
                    return Reply(text="", problem=problem)
                retry_after = answer.headers.get("Retry-After")
            except httpx.TransportError as error:
                problem = describe(error)
            except ValidationError:
                problem = "an answer that is no chat completion"
            if number < self._endpoint.max_tries:
                await asyncio.sleep(self._wait(number, retry_after))
        # One document may be more than the server can bear, or the server may be gone.
        await self._endpoint.fetch_models(self._client)
        return Reply(text="", problem=f"{problem}, {self._endpoint.max_tries} times")

    def _body(self, request: Request) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._model,
            "messages": [{"role": "user", "content": request.prompt}],
            "temperature": self._sampling.temperature,
            "max_tokens": self._sampling.max_new_tokens,
            "seed": request.seed,
        }
        # Not in OpenAI's own interface, whose servers refuse what they do not know.
        return body | {"top_k": self._sampling.top_k} if self._sampling.top_k else body

    def _explain(self, answer: httpx.Response) -> str:
        self._endpoint.check_key(answer)
        words = " ".join(answer.text.split())[:300]
        if self._endpoint.api_key:
            words = words.replace(self._endpoint.api_key, "***")
        return f"status {answer.status_code} from {self._endpoint.address}: {words}"

    def _wait(self, number: int, retry_after: str | None) -> float:
        asked = seconds_of(retry_after)
        if asked is None:
            asked = self._endpoint.backoff_s * 2 ** (number - 1) * random.uniform(0.5, 1.0)
        return min(asked, _LONGEST_WAIT_S)


def _read_completion(content: bytes) -> Reply:
    completion = _Completion.model_validate_json(content)
    tokens = completion.usage or _Tokens()
    choice = completion.choices[0] if completion.choices else _Choice(message=_Message())
    return Reply(
        text=choice.message.content or "",
        usage=Usage(1, tokens.prompt_tokens, tokens.completion_tokens),
        is_cut=choice.finish_reason == "length",
    )
