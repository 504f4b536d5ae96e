"""``/v1/events``: changes of state as they happen, as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import StreamingResponse

from headrace.errors import SharedFailure
from headrace.messages import StatusEvent
from headrace_gateway.authentication import caller
from headrace_gateway.drafts import CollectionName, Word
from headrace_gateway.parts import Parts
from headrace_gateway.problems import unavailable
from headrace_gateway.requests import principal_of
from headrace_gateway.status_feed import Mark, Subscription
from headrace_gateway.views import when

_COMMENT_S = 15.0
"""Proxies close what is silent for long."""
_MOST_STREAMS = 100
"""Of one tenant: each holds a connection, of which there are a thousand for all."""
_MEDIA_TYPE = "text/event-stream"


def router(parts: Parts) -> APIRouter:
    """The route."""
    routes = APIRouter(prefix="/v1/events", tags=["events"])

    @routes.get(
        "",
        response_class=StreamingResponse,
        responses={200: {"content": {_MEDIA_TYPE: {"schema": {"type": "string"}}}}},
    )
    async def events(
        request: Request,
        collection: CollectionName | None = None,
        document: Annotated[Word | None, Query(max_length=1024)] = None,
        job: Annotated[Word | None, Query(max_length=36)] = None,
    ) -> StreamingResponse:
        """What becomes of documents from now on.

        From the comment `listening` on nothing is missed. The stream ends some seconds
        after the credential does. An event `overrun` ends it where something is missed
        all the same, because the client reads too slowly or the gateway could not read:
        then the client lists the documents, and listens again.
        """

        def wanted(event: StatusEvent) -> bool:
            return (
                collection in (None, event.key.collection)
                and document in (None, event.key.document_id)
                and job in (None, event.metadata.import_job)
            )

        if parts.feed.listeners_of(principal_of(request).tenant) >= _MOST_STREAMS:
            raise unavailable(
                "busy_listening",
                f"the tenant listens to {_MOST_STREAMS} streams already",
                retry_after_s=parts.settings.retry_after_s,
                status=429,
            )
        return StreamingResponse(_lines(parts, request, wanted), media_type=_MEDIA_TYPE)

    return routes


async def _lines(
    parts: Parts, request: Request, wanted: Callable[[StatusEvent], bool]
) -> AsyncIterator[bytes]:
    with parts.feed.subscribed(principal_of(request).tenant) as subscription:
        known_at = parts.clock.monotonic()
        while not parts.stopping.is_set():
            event = await _next(subscription, parts.stopping)
            if parts.clock.monotonic() - known_at >= _COMMENT_S:
                if not await _still_known(parts, request):
                    return
                known_at = parts.clock.monotonic()
            if event is None:
                yield b": \n\n"
            elif event is Mark.LISTENING:
                yield b": listening\n\n"
            elif wanted(event):
                yield _frame("state", _shown(event))
            if subscription.overrun and subscription.waiting.empty():
                yield _frame("overrun", {})
                return


async def _still_known(parts: Parts, request: Request) -> bool:
    """Whether the caller is still who it was: keys are revoked, and tokens end."""
    authorization = request.headers.get("authorization", "")
    try:
        found = await caller(parts.authenticator, authorization)
    except SharedFailure:
        return True  # nobody can tell now
    return found == principal_of(request)


async def _next(
    subscription: Subscription, stopping: asyncio.Event
) -> StatusEvent | Mark | None:
    """The next event; ``None`` where none came for a while, or we stop."""
    getting = asyncio.ensure_future(subscription.waiting.get())
    ending = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait(
            {getting, ending},
            timeout=_COMMENT_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        return getting.result() if getting.done() else None
    finally:
        getting.cancel()
        ending.cancel()


def _frame(kind: str, value: dict[str, object]) -> bytes:
    # JSON of one line: what a name holds cannot end the frame.
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()


def _shown(event: StatusEvent) -> dict[str, object]:
    shown: dict[str, object] = {
        "document": event.key.document_id,
        "collection": event.key.collection,
        "name": event.metadata.name,
        "stage": str(event.stage),
        "state": "processing" if not event.state.final else str(event.state),
        "final": event.state.final,
        "revision": event.revision,
        "chunks": event.chunks,
        "failed_chunks": event.failed_chunks,
        "import_job": event.metadata.import_job,
        "at": when(event.at_ms),
    }
    if event.error is not None:
        shown["error"] = {
            "code": event.error.code,
            "message": event.error.message,
            "advice": event.error.advice,
        }
    return shown
