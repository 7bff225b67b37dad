"""The addresses for those who run a service: whether it is ready, and its figures."""

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from prag_lightning import __version__
from prag_lightning.serving.service import Service

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Health(BaseModel):
    """Whether questions can be asked."""

    status: Literal["loading", "ready"]
    version: str = __version__


def operation_router(service: Service) -> APIRouter:
    """Return the routes for those who run a service.

    Args:
        service: The service.
    """
    router = APIRouter()

    @router.get("/health")
    async def health(response: Response) -> Health:
        """Say whether questions can be asked; 503 while the run is being loaded."""
        response.status_code = 200 if service.status == "ready" else 503
        return Health(status=service.status)

    @router.get("/metrics", response_class=Response)
    async def figures() -> Response:
        """Return figures for Prometheus."""
        return Response(service.metrics.text(), media_type=_PROMETHEUS)

    return router
