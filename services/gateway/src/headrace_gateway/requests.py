"""Reading a request's body in bounds, and what every request carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from headrace.clock import Clock
from headrace_gateway.principals import Principal
from headrace_gateway.problems import Problem, invalid, too_large

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a body may take.

    Args:
        silence_s: without a byte.
        whole_s: from its first byte to its last. Bytes that are stored while the rest
            still comes have no record yet, and ``sweeper`` takes what has none for
            long.
        clock: tells.
    """

    silence_s: float
    whole_s: float
    clock: Clock


def principal_of(request: Request) -> Principal:
    """Who calls; put there by ``authentication``."""
    found: Principal = request.state.principal
    return found


async def body_of(
    request: Request, *, limit: int, patience: Patience
) -> AsyncIterator[bytes]:
    """The body's bytes as they come.

    Raises:
        Problem: more than ``limit``, or too slow.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large("the body", limit)
    size = 0
    stream = request.stream()
    clock, silence_s = patience.clock, patience.silence_s
    began = clock.monotonic()
    while True:
        try:
            async with asyncio.timeout(silence_s):
                piece = await anext(stream, None)
        except TimeoutError as error:
            raise Problem(
                408, "too_slow", f"no byte of the body came for {silence_s:.0f} s"
            ) from error
        except ClientDisconnect as error:
            raise Problem(400, "cut_off", "the body ended too early") from error
        if clock.monotonic() - began > patience.whole_s:
            raise Problem(
                408,
                "too_slow",
                f"the body took longer than {patience.whole_s:.0f} s",
                advice="send less at once, or put it into an object store and send "
                "its URI",
            )
        if piece is None:
            return
        size += len(piece)
        if size > limit:
            raise too_large("the body", limit)
        if piece:
            yield piece


async def json_of(
    request: Request, model: type[M], *, limit: int, patience: Patience
) -> M:
    """The body as JSON of that shape.

    Raises:
        Problem: it is none.
    """
    whole = bytearray()
    async for piece in body_of(request, limit=limit, patience=patience):
        whole += piece
    return parsed(bytes(whole), model)


def parsed(data: bytes, model: type[M]) -> M:
    """JSON of that shape.

    Raises:
        Problem: it is none.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise invalid("the JSON is not as expected", errors=faults(error)) from None


def faults(error: ValidationError) -> list[dict[str, str]]:
    """What is wrong with which field, without its value."""
    return [
        {"field": ".".join(map(str, each["loc"])), "message": each["msg"]}
        for each in error.errors(
            include_url=False, include_input=False, include_context=False
        )
    ]
