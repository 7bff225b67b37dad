"""The page on which people ask: static files, under a policy that lets nothing else in."""

from importlib.resources import files

from fastapi import APIRouter, Response

from prag_lightning.serving.errors import RefusalError

_FILES = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}
_HEADERS = {
    # Scripts and styles come from our files alone: text of a document never becomes either.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def page_router() -> APIRouter:
    """Return the routes of the page and its files."""
    router = APIRouter(include_in_schema=False)
    folder = files("prag_lightning.serving") / "static"

    @router.get("/")
    async def show_page() -> Response:
        text = (folder / "index.html").read_bytes()
        return Response(text, media_type="text/html", headers=_HEADERS)

    @router.get("/static/{name}")
    async def get_file(name: str) -> Response:
        if name not in _FILES:
            raise RefusalError(404, f"there is no file '{name}'")
        text = (folder / name).read_bytes()
        return Response(text, media_type=_FILES[name], headers=_HEADERS)

    return router
