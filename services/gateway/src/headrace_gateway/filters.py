"""Query parameters by which more than one list is narrowed down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator

from headrace.database.listing import PROCESSING, UNDER_WAY
from headrace.messages import State

_FINAL = tuple(str(state) for state in State if state.final)
_ACCEPTED = (*UNDER_WAY, *_FINAL)
_PRODUCED = (PROCESSING, *_FINAL)


def _one_of(states: tuple[str, ...]) -> Callable[[str | None], str | None]:
    def known(state: str | None) -> str | None:
        if state and state not in states:
            raise ValueError(f"must be one of {', '.join(states)}")
        return state

    return known


Collection = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
AcceptedState = Annotated[
    str | None,
    Query(json_schema_extra={"enum": list(_ACCEPTED)}),
    AfterValidator(_one_of(_ACCEPTED)),
]
"""Of a document that came by this API."""
ProducedState = Annotated[
    str | None,
    Query(json_schema_extra={"enum": list(_PRODUCED)}),
    AfterValidator(_one_of(_PRODUCED)),
]
"""Of one that the registry has heard of, and nobody else."""
Limit = Annotated[int, Query(ge=1, le=200)]
"""Documents of a page."""
