"""``/v1/admin/dead-letters``.

Who has a tenant sees and touches its dead letters alone; an operator all of them, also
those of which not even the document can be read.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from headrace.errors import SharedFailure
from headrace.kafka_clients import sender
from headrace.messages import Stage
from headrace.open_letters import LetterFilter, OpenLetter, chosen, open_letters
from headrace.replaying import in_order, original_value, replay
from headrace.resolving import resolve
from headrace_gateway.drafts import Word
from headrace_gateway.parts import Parts
from headrace_gateway.principals import Principal
from headrace_gateway.requests import principal_of

_SHOWN_BYTES = 1024 * 1024
_PATIENCE_S = 60.0
"""To read all open letters."""

LetterId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:/-]{4,128}$")]
_Text = Annotated[Word, Field(max_length=1024)]


class Narrowed(BaseModel):
    """Which letters are meant; what is empty means all."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = None
    code: _Text = ""
    document: _Text = ""
    collection: _Text = ""
    since: _Text = Field("", description="Failed then or later: 2026-01-31T12:00:00.")
    until: _Text = ""

    def filter(self, tenant: str, ids: tuple[str, ...] = ()) -> LetterFilter:
        """As those who read letters take it."""
        said = self.model_dump(include=set(Narrowed.model_fields))
        return LetterFilter(
            **said | {"stage": self.stage or ""}, tenant=tenant, ids=ids
        )


class Meant(Narrowed):
    """Letters by their ids, or all that the rest leaves."""

    ids: list[_Text] = Field(default_factory=list, max_length=1000)
    everything: bool = Field(False, alias="all")

    @model_validator(mode="after")
    def _said_on_purpose(self) -> Meant:
        if bool(self.ids) == self.everything:
            raise ValueError("give either ids or all")
        return self


class ToReplay(Meant):
    """What to do again."""

    rate: float | None = Field(None, gt=0, le=10_000, description="Records a second.")
    timeout_s: float = Field(
        30, ge=1, le=300, description="What has come to no end by then waits on."
    )


class ToDrop(Meant):
    """What to give up."""

    reason: Word = Field(min_length=1, max_length=1024)


class Letters(BaseModel):
    """Open dead letters, those that failed first before others."""

    dead_letters: list[dict[str, Any]]


class Letter(BaseModel):
    """One, with the record that could not be processed."""

    summary: dict[str, Any]
    key: str | None
    headers: dict[str, str]
    size: int | None
    value_base64: str | None = Field(description="At most 1 MiB of it.")


class Replayed(BaseModel):
    """What became of a replay; the letter goes only where it was resolved."""

    id: str
    document: str
    outcome: str
    state: str | None
    problem: str | None


class Replays(BaseModel):
    """What became of all."""

    replayed: list[Replayed]


class Dropped(BaseModel):
    """Ids of what was given up."""

    dropped: list[str]


class Desk:
    """Works with letters within what a caller may see."""

    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self._audit = parts.audit

    async def chosen(
        self, principal: Principal, wanted: LetterFilter
    ) -> list[OpenLetter]:
        """The letters that are meant.

        Raises:
            Refused: an id that was named is not among them, or stands for several.
            SharedFailure: Kafka is away.
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                found = await open_letters(self._settings)
        except TimeoutError as error:
            raise SharedFailure(
                "broker_unavailable", "the dead letters cannot be read"
            ) from error
        return chosen(filter(lambda each: _theirs(principal, each), found), wanted)

    async def shown(self, principal: Principal, id_: str) -> Letter:
        """One letter, whole."""
        (found,) = await self.chosen(principal, LetterFilter(ids=(id_,)))
        value = await original_value(found.letter, self._settings)
        key = found.letter.original_key
        return Letter(
            summary=found.summary(),
            key=None if key is None else key.decode(errors="backslashreplace"),
            headers={
                name: at.decode(errors="backslashreplace")
                for name, at in found.letter.original_headers
            },
            size=None if value is None else len(value),
            value_base64=(
                None
                if value is None
                else base64.b64encode(value[:_SHOWN_BYTES]).decode()
            ),
        )

    async def replay(self, principal: Principal, asked: ToReplay) -> list[Replayed]:
        """Do letters again, and see what becomes of them."""
        letters = await self._meant(principal, asked, "replay")
        done = await replay(
            in_order(letters),
            self._settings,
            timeout_s=asked.timeout_s,
            rate=asked.rate,
            by=principal.name,
        )
        return [
            Replayed(
                id=each.letter.id,
                document=each.letter.document,
                outcome=each.outcome,
                state=each.state,
                problem=each.problem or None,
            )
            for each in done
        ]

    async def drop(self, principal: Principal, asked: ToDrop) -> list[str]:
        """Give letters up."""
        letters = await self._meant(principal, asked, "drop")
        async with sender(self._settings) as out:
            for letter in letters:
                await resolve(
                    letter,
                    out,
                    self._settings,
                    action="drop",
                    reason=asked.reason,
                    by=principal.name,
                )
        return [each.id for each in letters]

    async def _meant(
        self, principal: Principal, asked: Meant, action: str
    ) -> list[OpenLetter]:
        wanted = asked.filter(principal.only, tuple(asked.ids))
        letters = await self.chosen(principal, wanted)
        said = asked.model_dump(mode="json", by_alias=True)
        await self._audit.record(principal, f"dead-letters.{action}", **said)
        return letters


def router(parts: Parts) -> APIRouter:
    """The routes."""
    desk = Desk(parts)
    routes = APIRouter(prefix="/v1/admin/dead-letters", tags=["admin"])

    @routes.get("")
    async def list_letters(
        request: Request, wanted: Annotated[Narrowed, Query()]
    ) -> Letters:
        """Open dead letters."""
        principal = principal_of(request)
        found = await desk.chosen(principal, wanted.filter(principal.only))
        return Letters(dead_letters=[each.summary() for each in found])

    @routes.get("/{id}")
    async def show(
        request: Request,
        id: LetterId,  # noqa: A002  the path's own word
    ) -> Letter:
        """One, by its id or the first characters of it."""
        return await desk.shown(principal_of(request), id)

    @routes.post("/replay")
    async def replay_letters(request: Request, asked: ToReplay) -> Replays:
        """Process letters again; answers once all have come to an end, or in time."""
        return Replays(replayed=await desk.replay(principal_of(request), asked))

    @routes.post("/drop")
    async def drop(request: Request, asked: ToDrop) -> Dropped:
        """Give letters up; who and why is in the audit topic."""
        return Dropped(dropped=await desk.drop(principal_of(request), asked))

    return routes


def _theirs(principal: Principal, letter: OpenLetter) -> bool:
    key = letter.letter.key
    return not principal.only or (key is not None and key.tenant == principal.only)
