"""``/v1/documents``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Path, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from headrace_gateway.drafts import (
    About,
    Content,
    NewDocument,
    NewUpload,
    Once,
    Submission,
    TextOrUri,
    Word,
    etag,
    if_match,
    once,
)
from headrace_gateway.filters import AcceptedState, Collection, Limit
from headrace_gateway.form_or_json import form_or_json
from headrace_gateway.idempotency import expired
from headrace_gateway.parts import Parts
from headrace_gateway.problems import Problem, not_found
from headrace_gateway.records import Page, Row, Sort
from headrace_gateway.requests import json_of, principal_of
from headrace_gateway.states import RETRIED
from headrace_gateway.uploads import FORM, media_type_of, object_key
from headrace_gateway.versions import Accepted
from headrace_gateway.views import (
    DocumentDetail,
    DocumentPage,
    cursor,
    document_detail,
    document_view,
    place_of,
)

DocumentId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
    ),
]
IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key")]
IfMatch = Annotated[str | None, Header(alias="If-Match")]

_M = TypeVar("_M", bound=BaseModel)


class _NamedAbout(About):
    """The fields of a form that replaces a content; the name stays what it was."""

    name: str = ""


class AcceptedView(BaseModel):
    """What was accepted."""

    id: str
    version: int
    collection: str
    name: str
    created: bool


def router(parts: Parts) -> APIRouter:
    """The routes."""
    documents = _Documents(parts)
    routes = APIRouter(prefix="/v1/documents", tags=["documents"])
    accepted: dict[int | str, dict[str, Any]] = {
        202: {
            "description": "It is stored, and will be processed.",
            "model": AcceptedView,
            "headers": {"ETag": {"schema": {"type": "string"}}},
        }
    }
    add = routes.add_api_route
    add(
        "",
        documents.create,
        methods=["POST"],
        status_code=202,
        responses=accepted,
        openapi_extra=form_or_json(NewDocument, NewUpload),
    )
    add("", documents.list, methods=["GET"], response_model=DocumentPage)
    add("/{id}", documents.get, methods=["GET"], response_model=DocumentDetail)
    add(
        "/{id}",
        documents.replace,
        methods=["PUT"],
        status_code=202,
        responses=accepted,
        openapi_extra=form_or_json(TextOrUri, About),
    )
    for path, act, method in (
        ("/{id}", documents.delete, "DELETE"),
        ("/{id}/retry", documents.retry, "POST"),
        ("/{id}/reindex", documents.reindex, "POST"),
    ):
        add(path, act, methods=[method], status_code=202, responses=accepted)
    return routes


class _Documents:
    """The handlers: they translate, ``Intake`` and ``Records`` do."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def create(
        self, request: Request, idempotency_key: IdempotencyKey = None
    ) -> JSONResponse:
        """Accept a document: a form with a file, or JSON with its text or URI."""
        parts, principal = self._parts, principal_of(request)
        media_type = media_type_of(request)
        with parts.admission.slot(principal):
            await self._check_quota(principal.tenant)
            id_ = parts.intake.new_id()
            key = await self._new_key(principal.tenant, id_, idempotency_key)
            asked: NewDocument | NewUpload
            if media_type == FORM:
                asked, content = await parts.uploads.form(request, NewUpload, key=key)
            else:
                asked = await self._json(request, NewDocument)
                content = await parts.uploads.text(asked, key=key)
            said = asked.model_dump(exclude={"text"}, mode="json")
            same = once(idempotency_key, "create", said, content.sha256, content.uri)

            async def submit() -> Accepted:
                parts.pauses.check(principal.tenant, asked.collection)
                return await parts.intake.create(
                    principal.tenant,
                    Submission(content=content, about=_about(asked)),
                    id_=id_,
                    collection=asked.collection,
                    name=asked.name,
                    on_conflict=asked.on_conflict,
                    asked=same,
                )

            return await self._submitted(principal.tenant, content, same, submit)

    async def replace(
        self,
        request: Request,
        id: DocumentId,  # noqa: A002  the path's own word
        idempotency_key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> JSONResponse:
        """Give a document other content, as a form or JSON."""
        parts, principal = self._parts, principal_of(request)
        media_type = media_type_of(request)
        seen = if_match(match)
        with parts.admission.slot(principal):
            row = await self._row(principal.tenant, id)
            if row is None:
                raise not_found("document")
            parts.pauses.check(principal.tenant, row["collection"])
            key = await self._new_key(principal.tenant, id, idempotency_key)
            if media_type == FORM:
                form, content = await parts.uploads.form(request, _NamedAbout, key=key)
                about = _about(form)
            else:
                asked = await self._json(request, TextOrUri)
                content = await parts.uploads.text(asked, key=key)
                about = _about(asked)
            said = [id, seen, about.model_dump(mode="json")]
            same = once(idempotency_key, "replace", said, content.sha256, content.uri)

            async def submit() -> Accepted:
                return await parts.intake.replace(
                    principal.tenant,
                    Submission(content=content, about=about),
                    id_=id,
                    seen=seen,
                    asked=same,
                )

            return await self._submitted(principal.tenant, content, same, submit)

    async def list(
        self,
        request: Request,
        *,
        collection: Collection = None,
        state: AcceptedState = None,
        job: Annotated[Word | None, Query(max_length=36)] = None,
        text: Annotated[
            Word | None,
            Query(min_length=3, max_length=256, description="Part of the name."),
        ] = None,
        sort: Sort = Sort.CREATED_DOWN,
        limit: Limit = 50,
        after: Annotated[str | None, Query(alias="cursor", max_length=4096)] = None,
    ) -> DocumentPage:
        """Documents, in pages."""
        page = Page(
            tenant=principal_of(request).tenant,
            limit=limit,
            sort=sort,
            after=None if after is None else place_of(after, sort),
            collection=collection,
            state=state,
            import_job=job,
            text=text,
        )
        rows = await self._parts.records.page(page)
        shown = rows[:limit]
        more = len(rows) > limit
        return DocumentPage(
            documents=[document_view(row) for row in shown],
            next=cursor(page, shown[-1]) if more else None,
        )

    async def get(
        self,
        request: Request,
        response: Response,
        id: DocumentId,  # noqa: A002  as above
    ) -> DocumentDetail:
        """One document: its state, its history, and what went wrong."""
        row = await self._row(principal_of(request).tenant, id, deleted=True)
        if row is None:
            raise not_found("document")
        records = self._parts.records
        heard = row["heard"] and row["heard_work"]
        timeline = await records.timeline(row["key"], heard) if heard else []
        response.headers["ETag"] = etag(row["version"])
        return document_detail(row, timeline, await records.versions(id))

    async def delete(
        self,
        request: Request,
        id: DocumentId,  # noqa: A002  as above
        idempotency_key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> JSONResponse:
        """Delete a document; its name is free at once, its chunks go soon."""
        seen = if_match(match)
        return _answer(
            await self._parts.intake.delete(
                principal_of(request).tenant,
                id_=id,
                seen=seen,
                asked=once(idempotency_key, "delete", id, seen),
            )
        )

    async def retry(
        self,
        request: Request,
        id: DocumentId,  # noqa: A002  as above
        idempotency_key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> JSONResponse:
        """Try a document again that failed, or some of whose chunks did."""
        tenant, seen = principal_of(request).tenant, if_match(match)
        same = once(idempotency_key, "retry", id, seen)
        if same is not None and (before := await self._before(tenant, same)):
            return _answer(before)
        row = await self._row(tenant, id)
        if row is None:
            raise not_found("document")
        if row["state"] not in RETRIED:
            raise Problem(
                409,
                "not_failed",
                f"the document is {row['state']}; only what failed can be retried",
                advice="use reindex to process it all the same",
            )
        self._parts.pauses.check(tenant, row["collection"])
        # Of two who retry at once the second finds another version.
        version = seen if seen is not None else row["version"]
        return await self._again(tenant, id, version, same)

    async def reindex(
        self,
        request: Request,
        id: DocumentId,  # noqa: A002  as above
        idempotency_key: IdempotencyKey = None,
        match: IfMatch = None,
    ) -> JSONResponse:
        """Process a document again, with the settings of now."""
        tenant, seen = principal_of(request).tenant, if_match(match)
        same = once(idempotency_key, "reindex", id, seen)
        if same is None or not await self._before(tenant, same):
            row = await self._row(tenant, id)
            if row is not None:
                self._parts.pauses.check(tenant, row["collection"])
        return await self._again(tenant, id, seen, same)

    async def _again(
        self, tenant: str, id_: str, seen: int | None, same: Once | None
    ) -> JSONResponse:
        return _answer(
            await self._parts.intake.again(tenant, id_=id_, seen=seen, asked=same)
        )

    async def _row(self, tenant: str, id_: str, *, deleted: bool = False) -> Row | None:
        row = await self._parts.records.get(tenant, id_)
        gone = row is not None and row["deleted_ms"] is not None and not deleted
        return None if gone else row

    async def _check_quota(self, tenant: str) -> None:
        most = self._parts.settings.tenant_unfinished
        if not most:
            return
        if await self._parts.records.unfinished(tenant, up_to=most) >= most:
            raise self._parts.admission.over_quota()

    async def _new_key(
        self, tenant: str, id_: str, idempotency_key: str | None
    ) -> str | None:
        """Where the content goes; ``None`` where the request came before.

        Then it is measured only, to tell whether it is the same.
        """
        intake = self._parts.intake
        if idempotency_key is not None and await intake.known_key(
            tenant, idempotency_key
        ):
            return None
        return object_key(tenant, id_, intake.new_id())

    async def _before(self, tenant: str, same: Once | None) -> Accepted | None:
        if same is None:
            return None
        return await self._parts.intake.answered(tenant, same)

    async def _submitted(
        self,
        tenant: str,
        content: Content,
        same: Once | None,
        submit: Callable[[], Awaitable[Accepted]],
    ) -> JSONResponse:
        """Have a content accepted; or tell what the request was told before."""
        if same is not None and content.object_key is None:
            if before := await self._before(tenant, same):
                return _answer(before)
            if content.uri is None:
                raise expired()
        async with self._parts.uploads.named(content):
            accepted = await submit()
        if accepted.replayed:
            # Two at once: the other one's content is the document's.
            await self._parts.uploads.discard(content)
        return _answer(accepted)

    async def _json(self, request: Request, model: type[_M]) -> _M:
        parts = self._parts
        return await json_of(
            request,
            model,
            limit=parts.settings.max_json_bytes,
            patience=parts.uploads.patience,
        )


def _about(asked: About) -> About:
    return About(**asked.model_dump(include=set(About.model_fields)))


def _answer(accepted: Accepted) -> JSONResponse:
    headers = {
        "ETag": etag(accepted.version),
        "Location": f"/v1/documents/{accepted.id}",
    }
    if accepted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(accepted.body(), status_code=202, headers=headers)
