"""Documents by their states, of one tenant or of all: for those who run it all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, case, exists, func, select

from headrace.database.documents import DOCUMENTS
from headrace.database.engine import Database
from headrace.database.listing import DELETED, HEARD, PROCESSING
from headrace.database.processing import DOCUMENT_STATES
from headrace.messages import State
from headrace_gateway.records import Row

RETRIED = (str(State.FAILED), str(State.INDEXED_WITH_ERRORS))
"""What has failed, whole or in part."""

_D, _S = DOCUMENTS.c, DOCUMENT_STATES.c
_failed_ms = func.coalesce(_S.at_ms, _D.updated_ms)
_code = case(
    (_D.failure.is_not(None), _D.failure["code"].as_string()), else_=_S.error_code
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Which failed documents are meant; ``None`` and empty mean any."""

    tenant: str | None = None
    ids: frozenset[str] = frozenset()
    collection: str | None = None
    code: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    import_job: str | None = None


class States:
    """Reads them. Every method raises ``SharedFailure``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def counts(
        self, *, tenant: str | None, collection: str | None
    ) -> dict[tuple[str, str], dict[str, int]]:
        """How many living documents there are by state, by tenant and collection.

        Those too that came by Kafka and not by the API. All are counted: seconds, where
        there are a million.
        """
        counts: dict[tuple[str, str], Counter[str]] = {}
        async with self._database.reading() as connection:
            for query in _counted(tenant, collection):
                for of, name, state, count in await connection.execute(query):
                    counts.setdefault((of, name), Counter())[state] += count
        return {group: dict(states) for group, states in counts.items()}

    async def of(self, ids: frozenset[str], *, tenant: str | None) -> dict[str, str]:
        """The states of living documents."""
        query = select(_D.id, _D.listed_as).where(
            _D.id.in_(ids), _D.listed_as != DELETED
        )
        if tenant is not None:
            query = query.where(_D.tenant == tenant)
        async with self._database.reading() as connection:
            return dict(iter(await connection.execute(query)))

    async def failed(self, meant: Failed, *, after: str, limit: int) -> list[Row]:
        """Tenant, id, collection and version of some, in the order of their ids."""
        query = _failed(meant, after).order_by(_D.id).limit(limit)
        async with self._database.reading() as connection:
            return list((await connection.execute(query)).mappings())

    async def count_failed(self, meant: Failed, *, after: str) -> int:
        """How many there are beyond an id."""
        query = select(func.count()).select_from(_failed(meant, after).subquery())
        async with self._database.reading() as connection:
            return await connection.scalar(query) or 0


def _counted(tenant: str | None, collection: str | None) -> list[Select[Any]]:
    """Of our own documents the copy of the state tells, of others the registry."""
    known = exists().where(_D.key == _S.document)
    state = case((_S.final, _S.state), else_=PROCESSING)
    queries: list[Select[Any]] = []
    for table, column, which in (
        (_D, _D.listed_as, _D.listed_as != DELETED),
        (_S, state, ~known & (_S.state != DELETED)),
    ):
        group = (table.tenant, table.collection, column)
        query = select(*group, func.count()).where(which).group_by(*group)
        if tenant is not None:
            query = query.where(table.tenant == tenant)
        if collection is not None:
            query = query.where(table.collection == collection)
        queries.append(query)
    return queries


def _failed(meant: Failed, after: str) -> Select[tuple[str, str, str, int]]:
    query = (
        select(_D.tenant, _D.id, _D.collection, _D.version)
        .select_from(DOCUMENTS.outerjoin(DOCUMENT_STATES, HEARD))
        .where(_D.listed_as.in_(RETRIED), _D.id > after)
    )
    for wanted, column in (
        (meant.tenant, _D.tenant),
        (meant.collection, _D.collection),
        (meant.code, _code),
        (meant.import_job, _D.import_job),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    if meant.ids:
        query = query.where(_D.id.in_(meant.ids))
    if meant.since_ms is not None:
        query = query.where(_failed_ms >= meant.since_ms)
    if meant.until_ms is not None:
        query = query.where(_failed_ms < meant.until_ms)
    return query
