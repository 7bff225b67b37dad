"""Models of Elasticsearch and OpenSearch responses, with only the fields that are used."""

from pydantic import BaseModel, Field, JsonValue


class Outcome(BaseModel):
    """Result of one item of a bulk request."""

    status: int | None = None
    error: JsonValue = None


class Indexed(Outcome):
    """Result of indexing a document."""

    id: str = Field(alias="_id")


class _Indexing(BaseModel):
    index: Indexed


class BulkAnswer(BaseModel):
    """Response of ``_bulk``."""

    items: list[_Indexing]


class _Hit(BaseModel):
    id: str = Field(alias="_id")
    score: float = Field(alias="_score")


class _Hits(BaseModel):
    hits: list[_Hit]


class _Shards(BaseModel):
    total: int
    failed: int


class Found(Outcome):
    """Result of one search; without ``hits`` if it failed."""

    shards: _Shards = Field(alias="_shards", default=_Shards(total=0, failed=0))
    hits: _Hits = _Hits(hits=[])


class SearchesAnswer(BaseModel):
    """Response of ``_msearch``."""

    responses: list[Found]


class CountAnswer(BaseModel):
    """Response of ``_count``."""

    count: int


class _Meta(BaseModel):
    prag_unfinished: bool = False


class _Mapping(BaseModel):
    meta: _Meta = Field(alias="_meta", default=_Meta())


class _IndexMapping(BaseModel):
    mappings: _Mapping


class MappingsAnswer(BaseModel):
    """Response of ``_mapping``, by index name."""

    indexes: dict[str, _IndexMapping]


def error_reason(error: JsonValue) -> str:
    """Return the server's explanation in one line."""
    if not isinstance(error, dict):
        return str(error)
    causes = error.get("root_cause")
    cause = causes[0] if isinstance(causes, list) and causes else error
    if not isinstance(cause, dict):
        return str(cause)
    return f"{cause.get('type')}: {cause.get('reason')}"
