"""``/v1/search``."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from headrace.search import Hit
from headrace_gateway.parts import Parts
from headrace_gateway.requests import principal_of
from headrace_gateway.searcher import Question


class HitView(BaseModel):
    """A chunk that was found."""

    score: float
    text: str
    document: str
    name: str
    number: int
    page: int
    headings: list[str]
    section: str
    source_uri: str
    attributes: dict[str, str]


class Hits(BaseModel):
    """The nearest chunks, best first."""

    hits: list[HitView]


def router(parts: Parts) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/search", tags=["search"])

    @routes.post("")
    async def search_documents(request: Request, question: Question) -> Hits:
        """The nearest chunks of what is visible; an unknown collection has none."""
        tenant = principal_of(request).tenant
        hits = await parts.searcher.search(tenant, question)
        return Hits(hits=[_view(hit) for hit in hits])

    return routes


def _view(hit: Hit) -> HitView:
    return HitView(
        score=round(hit.score, 6),
        text=hit.text,
        document=hit.key.document_id,
        name=hit.name,
        number=hit.number,
        page=hit.page,
        headings=list(hit.headings),
        section=hit.section,
        source_uri=hit.source_uri,
        attributes=dict(hit.metadata),
    )
