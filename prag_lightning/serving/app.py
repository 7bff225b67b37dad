"""The web application: its routes, and what every request passes on the way to them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from prag_lightning import __version__
from prag_lightning.serving.chat_routes import chat_router
from prag_lightning.serving.document_routes import document_router
from prag_lightning.serving.errors import install_error_handlers
from prag_lightning.serving.gate import RequestGate
from prag_lightning.serving.observation import Observation
from prag_lightning.serving.operation_routes import operation_router
from prag_lightning.serving.page import page_router
from prag_lightning.serving.service import Service
from prag_lightning.serving.settings import ServingSettings


def create_app(settings: ServingSettings, on_failure: Callable[[], None] = lambda: None) -> FastAPI:
    """Return the web application of a run; the run is loaded after it has started.

    Args:
        settings: The service's settings.
        on_failure: Called if the run cannot be loaded.
    """
    service = Service(settings, on_failure)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        service.end()

    gate = Middleware(RequestGate, settings=settings)
    app = FastAPI(
        title="prag-lightning",
        version=__version__,
        description="Answers from documents that are encoded into the weights.",
        lifespan=lifespan,
        # They load scripts of other sites.
        docs_url=None,
        redoc_url=None,
        middleware=[Middleware(Observation, metrics=service.metrics), gate],
    )
    app.state.service = service
    install_error_handlers(app)
    for router in (chat_router, document_router, operation_router):
        app.include_router(router(service))
    app.include_router(page_router())
    return app
