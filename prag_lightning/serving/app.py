"""The web application: its routes, and what every request passes on the way to them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

from fastapi import FastAPI, Response
from pydantic import BaseModel
from starlette.middleware import Middleware

from prag_lightning import __version__
from prag_lightning.serving.chat_routes import chat_router
from prag_lightning.serving.document_routes import document_router
from prag_lightning.serving.errors import install_error_handlers
from prag_lightning.serving.gate import Gate
from prag_lightning.serving.observation import Observation
from prag_lightning.serving.page import page_router
from prag_lightning.serving.service import Service
from prag_lightning.serving.settings import ServingSettings

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Health(BaseModel):
    """Whether questions can be asked."""

    status: Literal["loading", "ready"]
    version: str = __version__


def create_app(settings: ServingSettings, on_failure: Callable[[], None] = lambda: None) -> FastAPI:
    """Return the web application of a run; the run is loaded after it has started.

    Args:
        settings: The service's settings.
        on_failure: Called if the run cannot be loaded.
    """
    service = Service(settings, on_failure)
    metrics = service.metrics

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.end()

    app = FastAPI(
        title="prag-lightning",
        version=__version__,
        description="Answers from documents that are encoded into the weights.",
        lifespan=lifespan,
        # Pages of other sites' scripts.
        docs_url=None,
        redoc_url=None,
        middleware=[Middleware(Observation, metrics=metrics), Middleware(Gate, settings=settings)],
    )
    app.state.service = service
    install_error_handlers(app)
    app.include_router(chat_router(service))
    app.include_router(document_router(service))
    app.include_router(page_router())

    @app.get("/health")
    async def health(response: Response) -> Health:
        """Say whether questions can be asked; 503 while the run is being loaded."""
        response.status_code = 200 if service.status == "ready" else 503
        return Health(status=service.status)

    @app.get("/metrics", response_class=Response)
    async def figures() -> Response:
        """Return figures for Prometheus."""
        return Response(metrics.text(), media_type=_PROMETHEUS)

    return app
