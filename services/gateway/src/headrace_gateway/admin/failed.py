"""``/v1/admin/failed``: failed documents, processed again many at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from headrace.errors import SharedFailure
from headrace_gateway.documents import IdempotencyKey
from headrace_gateway.drafts import CollectionName, Once, Word, once
from headrace_gateway.parts import Parts
from headrace_gateway.principals import Principal
from headrace_gateway.problems import Problem
from headrace_gateway.records import Row
from headrace_gateway.requests import principal_of
from headrace_gateway.states import RETRIED, Failed

_PAGE = 100
_MOST_REFUSED = 1000
"""An answer is held whole, and all of a paused collection may be refused."""
_FILTERS = ("collection", "code", "since", "until", "job")
_Id = Annotated[Word, Field(min_length=1, max_length=36)]


class ToRetry(BaseModel):
    """Documents by their ids, or all failed ones that the rest leaves."""

    model_config = ConfigDict(extra="forbid")

    ids: list[_Id] = Field(default_factory=list, max_length=1000)
    everything: bool = Field(False, alias="all")
    collection: CollectionName | None = None
    code: Word | None = Field(None, max_length=64, description="Why they failed.")
    since: AwareDatetime | None = Field(None, description="Failed then or later.")
    until: AwareDatetime | None = Field(None, description="Failed before.")
    job: Word | None = Field(None, max_length=36, description="Of this import.")
    limit: int = Field(1000, ge=1, le=10_000, description="So many at most.")
    timeout_s: float = Field(
        30, ge=1, le=300, description="What is not begun by then is left."
    )

    @model_validator(mode="after")
    def _said_on_purpose(self) -> ToRetry:
        if bool(self.ids) == self.everything:
            raise ValueError("give either ids or all")
        if self.ids and not self.model_fields_set.isdisjoint(_FILTERS):
            raise ValueError("ids need no filters; give those with all")
        return self

    def meant(self, tenant: str) -> Failed:
        """As the database is asked; an empty tenant is any."""
        return Failed(
            tenant=tenant or None,
            ids=frozenset(self.ids),
            collection=self.collection,
            code=self.code,
            since_ms=_milliseconds(self.since),
            until_ms=_milliseconds(self.until),
            import_job=self.job,
        )


class NotRetried(BaseModel):
    """A document that is not processed again, and why."""

    id: str
    code: str
    message: str


class Retried(BaseModel):
    """What was done; ``stopped`` says why some are left."""

    retried: int
    documents: list[str] = Field(description="Ids of what is processed again.")
    refused: list[NotRetried]
    left: int | None = Field(description="Failed ones still; null: not known now.")
    stopped: str | None = Field(
        description="limit, time, refused (too many are), or why nothing more can be "
        "accepted now."
    )


@dataclass(slots=True)
class _Progress:
    documents: list[str] = field(default_factory=list)
    refused: list[NotRetried] = field(default_factory=list)
    last: str = ""
    stopped: str | None = None

    def answer(self, *, left: int | None) -> Retried:
        return Retried(
            retried=len(self.documents),
            documents=self.documents,
            refused=self.refused,
            left=left,
            stopped=self.stopped,
        )


class _Retrying:
    """Retries page by page, in the order in which the documents were made.

    What is done is committed document by document: whoever dies midway, or stops, has
    retried the first ones, and the same request goes on with the others.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def retry(
        self, principal: Principal, asked: ToRetry, *, key: str | None
    ) -> Retried:
        said = asked.model_dump(mode="json", by_alias=True)
        # Checked before the audit record: what is none is not an act.
        once(key)
        await self._parts.audit.record(principal, "failed.retry", **said)
        meant, done = asked.meant(principal.only), _Progress()
        done.refused += await self._not_failed(meant)
        try:
            await self._work(meant, done, asked, key)
            if done.stopped is None:
                return done.answer(left=0)
            left = await self._parts.states.count_failed(meant, after=done.last)
        except SharedFailure as failure:
            if not done.documents:
                raise
            done.stopped, left = failure.reason, None
        if done.stopped == "limit" and not left:
            done.stopped = None
        return done.answer(left=left)

    async def _work(
        self, meant: Failed, done: _Progress, asked: ToRetry, key: str | None
    ) -> None:
        clock = self._parts.clock
        deadline = clock.monotonic() + asked.timeout_s
        while True:
            room = asked.limit - len(done.documents)
            page = await self._parts.states.failed(
                meant, after=done.last, limit=min(_PAGE, room)
            )
            for row in page:
                if clock.monotonic() > deadline:
                    done.stopped = "time"
                    return
                if reason := self._parts.admission.problem():
                    done.stopped = f"busy_{reason}"
                    return
                await self._retry(row, done, key)
                done.last = row["id"]
            if not page:
                return
            if len(done.documents) >= asked.limit:
                done.stopped = "limit"
                return
            if len(done.refused) >= _MOST_REFUSED:
                done.stopped = "refused"
                return

    async def _retry(self, row: Row, done: _Progress, key: str | None) -> None:
        try:
            self._parts.pauses.check(row["tenant"], row["collection"])
            # Of two who retry at once the second finds another version.
            accepted = await self._parts.intake.again(
                row["tenant"],
                id_=row["id"],
                seen=row["version"],
                asked=_once(key, row["id"]),
            )
        except Problem as problem:
            done.refused.append(
                NotRetried(id=row["id"], code=problem.code, message=problem.detail)
            )
        else:
            done.documents.append(accepted.id)

    async def _not_failed(self, meant: Failed) -> list[NotRetried]:
        if not meant.ids:
            return []
        states = await self._parts.states.of(meant.ids, tenant=meant.tenant)
        others = {id_: states.get(id_) for id_ in meant.ids}
        return [
            _refused(id_, state)
            for id_, state in sorted(others.items())
            if state not in RETRIED
        ]


def router(parts: Parts) -> APIRouter:
    """The route."""
    retrying = _Retrying(parts)
    routes = APIRouter(prefix="/v1/admin/failed", tags=["admin"])

    @routes.post("/retry")
    async def retry(
        request: Request, asked: ToRetry, idempotency_key: IdempotencyKey = None
    ) -> Retried:
        """Process again what failed, whole or in part.

        Each as `POST /v1/documents/{id}/retry` does it. What is processed again has not
        failed any more, so the same request goes on where this one stopped.
        """
        return await retrying.retry(principal_of(request), asked, key=idempotency_key)

    return routes


def _refused(id_: str, state: str | None) -> NotRetried:
    if state is None:
        return NotRetried(id=id_, code="not_found", message="there is no such document")
    return NotRetried(
        id=id_, code="not_failed", message=f"the document is {state}, not failed"
    )


def _once(key: str | None, id_: str) -> Once | None:
    """The caller's key, told apart by document: each is retried once under it."""
    if key is None:
        return None
    digest = hashlib.sha256(key.encode()).hexdigest()
    return once(f"failed-retry:{digest}:{id_}", "failed-retry", id_)


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)
