"""How the API is called: each answer as its type, each refusal an ``ApiError``."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from headrace.client.errors import ApiError

M = TypeVar("M", bound=BaseModel)

_LATER = (429, 503)


class Calls:
    """Calls a gateway.

    Args:
        http: with its address and the credential.
        patience_s: how long 429 and 503 are waited out.
    """

    def __init__(self, http: httpx.AsyncClient, *, patience_s: float) -> None:
        self.http = http
        self._patience_s = patience_s

    async def once(self, method: str, path: str, model: type[M], **request: Any) -> M:
        """Call; 429 and 503 are raised like any other refusal."""
        return _as(await self.http.request(method, path, **request), model)

    async def call(self, method: str, path: str, model: type[M], **request: Any) -> M:
        """Call, and wait out 429 and 503 for as long as is patient."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return await self.once(method, path, model, **request)
            except ApiError as error:
                wait_s = error.retry_after_s
                late = wait_s is None or time.monotonic() + wait_s > deadline
                if error.status not in _LATER or late or wait_s is None:
                    raise
            _rewind(request)
            await asyncio.sleep(wait_s)

    async def write(self, method: str, path: str, model: type[M], **request: Any) -> M:
        """Call under a key of its own, so that what is sent twice is done once."""
        headers = {
            "Idempotency-Key": str(uuid.uuid4()),
            **request.pop("headers", {}),
        }
        return await self.call(method, path, model, headers=headers, **request)


def given(**values: Any) -> dict[str, Any]:
    """Without what was left out."""
    return {name: value for name, value in values.items() if value is not None}


def refusal(answer: httpx.Response) -> ApiError:
    """What an answer refuses, and why."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    after = answer.headers.get("retry-after", "")
    return ApiError(
        answer.status_code,
        problem if isinstance(problem, dict) else {},
        float(after) if after.isdigit() else None,
    )


def _as(answer: httpx.Response, model: type[M]) -> M:
    if answer.is_success:
        return model.model_validate_json(answer.content)
    raise refusal(answer)


def _rewind(request: Mapping[str, Any]) -> None:
    """A file that was sent in part is sent from its start again."""
    for _, file, _ in request.get("files", {}).values():
        if not isinstance(file, bytes):
            file.seek(0)
