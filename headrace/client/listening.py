"""Changes of documents as they happen, from the gateway's server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx
from pydantic import BaseModel

from headrace.client.answers import Failure
from headrace.client.calls import refusal

_KIND, _DATA = "event: ", "data: "


class Change(BaseModel):
    """What a stage has said of a document."""

    document: str
    collection: str
    name: str
    stage: str
    state: str
    final: bool
    revision: int
    chunks: int
    failed_chunks: int
    import_job: str
    at: str
    error: Failure | None = None


class Overrun(Exception):
    """Some changes were missed: the documents themselves say how they stand."""


async def listened(
    http: httpx.AsyncClient, wanted: Mapping[str, str]
) -> AsyncIterator[Change]:
    """What comes from now on, until the gateway ends it.

    Raises:
        ApiError: it refuses.
        Overrun: see there.
    """
    async with http.stream("GET", "/v1/events", params=wanted) as answer:
        if not answer.is_success:
            await answer.aread()
            raise refusal(answer)
        kind = ""
        async for line in answer.aiter_lines():
            if line.startswith(_KIND):
                kind = line.removeprefix(_KIND)
            elif line.startswith(_DATA) and kind == "overrun":
                raise Overrun(
                    "some changes were missed, by a slow reader or by the gateway: "
                    "list the documents, and listen again"
                )
            elif line.startswith(_DATA):
                yield Change.model_validate_json(line.removeprefix(_DATA))
