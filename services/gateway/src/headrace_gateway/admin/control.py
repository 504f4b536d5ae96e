"""``/v1/admin/pause``, ``resume``, ``pauses`` and ``drain``.

The control topic says what is paused, to every process; all obey within two seconds,
and those too that start later.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.errors import KafkaError
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from headrace.control import EVERYTHING, Target
from headrace.draining import none_left
from headrace.errors import SharedFailure, Unreadable
from headrace.messages import Pause, Stage
from headrace_gateway.drafts import CollectionName, Word
from headrace_gateway.parts import Parts
from headrace_gateway.principals import Principal, operators_only
from headrace_gateway.problems import Problem, invalid
from headrace_gateway.requests import principal_of
from headrace_gateway.views import when


class What(BaseModel):
    """All stages, one of them, or a collection."""

    model_config = ConfigDict(extra="forbid")

    everything: bool = Field(False, alias="all")
    stage: Stage | None = None
    collection: CollectionName | None = None
    tenant: Word | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="Whose collection; the caller's own where it is left out.",
    )

    @model_validator(mode="after")
    def _one_thing(self) -> What:
        named = [self.everything, self.stage is not None, self.collection is not None]
        if sum(named) != 1:
            raise ValueError("give one of all, stage and collection")
        if self.tenant is not None and self.collection is None:
            raise ValueError("tenant goes with collection")
        return self

    def target(self, principal: Principal) -> Target:
        """What the caller means, and may touch.

        Raises:
            Problem: it may not, or does not say whose it means.
        """
        if self.stage is not None or self.collection is None:
            operators_only(principal, "pause and resume stages")
            return EVERYTHING if self.stage is None else Target(stage=self.stage)
        tenant = self.tenant or ("" if principal.operator else principal.tenant)
        if principal.only not in ("", tenant):
            raise Problem(
                403,
                "operator_only",
                f"the credential is of the tenant {principal.tenant}, not {tenant}",
                advice="leave tenant out, or use an operator's key",
            )
        if not tenant:
            raise invalid(
                "tenant is missing: an operator has none of its own",
                advice="say whose collection is meant",
            )
        target = Target(tenant=tenant, collection=self.collection)
        try:
            target.validate()
        except Unreadable as error:
            raise invalid(error.message, code=error.code) from error
        return target


class ToPause(What):
    """What is to wait, and why."""

    reason: Word = Field("", max_length=512, description="Told to whom it refuses.")


class ToDrain(BaseModel):
    """What is to have nothing left."""

    model_config = ConfigDict(extra="forbid")

    stage: Stage | None = Field(None, description="One stage; else all.")
    timeout_s: float = Field(60, ge=0, le=600)


class PauseView(BaseModel):
    """Something that is paused, since when, by whom and why."""

    all: bool
    stage: str | None
    tenant: str | None
    collection: str | None
    by: str
    reason: str
    at: str


class Pauses(BaseModel):
    """All that is paused."""

    pauses: list[PauseView]


class Resumed(BaseModel):
    """Whether there was something to resume, and what is paused still."""

    resumed: bool
    pauses: list[PauseView]


class Left(BaseModel):
    """Records that wait for a stage or are in work there."""

    stage: str
    records: int


class Drained(BaseModel):
    """What is left; a stage that is paused gets nowhere."""

    drained: bool
    left: list[Left]
    pauses: list[PauseView] = Field(description="Those that hold what is left.")


def router(parts: Parts) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/admin", tags=["admin"])

    @routes.post("/pause")
    async def pause(request: Request, asked: ToPause) -> PauseView:
        """Pause; what is in work is finished first.

        A paused stage takes nothing on. What comes for a paused collection is refused
        here, and set aside by the loader; what it has passed on goes its way.
        """
        principal = principal_of(request)
        target = asked.target(principal)
        await parts.audit.record(principal, "pause", **_said(target, asked.reason))
        why = await parts.pauses.pause(target, by=principal.name, reason=asked.reason)
        return _view(target, why)

    @routes.post("/resume")
    async def resume(request: Request, asked: What) -> Resumed:
        """Let what was paused go on; each pause ends by its own name."""
        principal = principal_of(request)
        target = asked.target(principal)
        before = parts.pauses.all
        await parts.audit.record(principal, "resume", **_said(target))
        await parts.pauses.resume(target)
        return Resumed(
            resumed=target in before, pauses=_views(parts.pauses.all, principal)
        )

    @routes.get("/pauses")
    async def pauses(request: Request) -> Pauses:
        """What is paused: stages, and the caller's collections."""
        return Pauses(pauses=_views(parts.pauses.all, principal_of(request)))

    @routes.post("/drain")
    async def drain(request: Request, asked: ToDrain) -> Drained:
        """Wait until stages have nothing left; answers with what is, in time.

        It holds for good only where nothing comes in any more: pause what is before.
        """
        principal = principal_of(request)
        await parts.audit.record(principal, "drain", **asked.model_dump(mode="json"))
        stages = list(Stage) if asked.stage is None else [asked.stage]

        async def read() -> dict[Stage, int]:
            return await parts.ahead.left(stages)

        try:
            # Whether Kafka is away is told at once.
            left = await read()
            if left:
                left = await none_left(read, timeout_s=asked.timeout_s)
        except (KafkaError, TimeoutError) as error:
            raise SharedFailure("broker_unavailable", repr(error)) from error
        held = {
            target: why
            for target, why in parts.pauses.all.items()
            if left and (target == EVERYTHING or target.stage in left)
        }
        return Drained(
            drained=not left,
            left=[Left(stage=stage, records=count) for stage, count in left.items()],
            pauses=_views(held, principal),
        )

    return routes


def _said(target: Target, reason: str = "") -> dict[str, str]:
    said = {"target": target.record_key.decode()}
    return said | {"reason": reason} if reason else said


def _views(pauses: Mapping[Target, Pause], principal: Principal) -> list[PauseView]:
    """Those that the caller may see, the widest first."""
    seen = [
        (target, why)
        for target, why in pauses.items()
        if not target.collection or principal.only in ("", target.tenant)
    ]
    seen.sort(key=lambda each: each[0].record_key)
    return [_view(target, why) for target, why in seen]


def _view(target: Target, why: Pause) -> PauseView:
    return PauseView(
        all=target == EVERYTHING,
        stage=target.stage,
        tenant=target.tenant or None,
        collection=target.collection or None,
        by=why.by,
        reason=why.reason,
        at=when(why.at_ms),
    )
