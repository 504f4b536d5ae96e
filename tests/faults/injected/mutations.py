"""Turns off one guard of the product at a time, by patching it.

Each must turn a row red, or the suite could not see what the guard is there for. The
product knows nothing of this: level 1 patches itself, stage processes of level 2 are
patched at their start.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4


def install(name: str) -> None:
    """Turn a guard off, for the rest of the process's life."""
    MUTATIONS[name]()


def commit_before_effect() -> None:
    """What was read is committed, whether anything has become of it or not."""
    from headrace.offsets import OffsetTracker  # noqa: PLC0415

    OffsetTracker.committable = property(lambda tracker: tracker._next)


def out_of_order_commit() -> None:
    """The newest that is finished is committed, whatever is not before it."""
    from headrace.offsets import OffsetTracker  # noqa: PLC0415

    def newest(tracker: Any) -> int | None:
        in_flight = tracker._in_flight
        following = tracker._next
        while following is not None and following - 1 in in_flight:
            following -= 1
        return following

    OffsetTracker.committable = property(newest)


def auto_commit() -> None:
    """The client commits what it has handed out; we commit nothing."""
    from headrace import kafka_source  # noqa: PLC0415

    async def commits_nothing(*_: Any) -> None:
        """The client does."""

    _consume_with(enable_auto_commit=True, auto_commit_interval_ms=100)
    kafka_source.KafkaSource.commit = commits_nothing


def auto_offset_reset_latest() -> None:
    """A group without offsets begins at the end."""
    _consume_with(auto_offset_reset="latest")


def _consume_with(**options: Any) -> None:
    from headrace import kafka_source  # noqa: PLC0415

    consumer = kafka_source.AIOKafkaConsumer

    def changed(*args: Any, **kwargs: Any) -> Any:
        return consumer(*args, **{**kwargs, **options})

    kafka_source.AIOKafkaConsumer = changed


def swallow_cancellation() -> None:
    """Work that is told to end goes on."""
    from headrace.work import Worker  # noqa: PLC0415

    attempt = Worker.attempt

    async def goes_on(worker: Worker, item: Any) -> Any:
        while True:
            try:
                return await attempt(worker, item)
            except asyncio.CancelledError:
                # Once more from the start, as `except BaseException: retry` does.
                continue

    Worker.attempt = goes_on


def no_version_fence() -> None:
    """Whatever comes last wins, however old it is."""
    from headrace import state  # noqa: PLC0415

    state._older = lambda *_: False


def random_point_ids() -> None:
    """Each time a chunk is stored it is another point."""
    from headrace import qdrant_payload  # noqa: PLC0415

    def random_id(*_: Any, **__: Any) -> UUID:
        return uuid4()

    qdrant_payload.point_id = random_id


def dead_letter_on_outage() -> None:
    """What all documents share fails, and each is given up for it."""
    from headrace.errors import DocumentFailure, SharedFailure  # noqa: PLC0415
    from headrace.work import Worker  # noqa: PLC0415

    failed = Worker._failed

    def own_fault(worker: Worker, item: Any, error: Exception) -> Any:
        if isinstance(error, SharedFailure):
            error = DocumentFailure(error.reason, str(error), retryable=True)
        return failed(worker, item, error)

    Worker._failed = own_fault


def skip_answer_validation() -> None:
    """Vectors are taken as they come."""
    from headrace_embedder.providers import answers  # noqa: PLC0415

    def as_they_come(items: list[Any], texts: int) -> list[Any]:
        found = [item.embedding for item in items]
        return (found * math.ceil(texts / max(len(found), 1)))[:texts]

    answers._judged = lambda vectors, _dimensions: vectors
    answers._in_order = as_they_come


def outbox_outside_transaction() -> None:
    """An event is committed by itself, before the document that it is about."""
    if _NO_GATEWAY:
        return
    from headrace_gateway.intake import Intake  # noqa: PLC0415
    from headrace_gateway.versions import Versions  # noqa: PLC0415

    made, queue = Intake.__init__, Versions._queue
    databases: list[Any] = []

    def making(intake: Intake, database: Any, **others: Any) -> None:
        databases.append(database)
        made(intake, database, **others)

    async def alone(versions: Versions, _connection: Any, event: Any) -> None:
        async with databases[-1].writing() as connection:
            await queue(versions, connection, event)

    Intake.__init__ = making
    Versions._queue = alone


def no_unique_name() -> None:
    """Nothing keeps a second document from a name that is taken."""
    if _NO_GATEWAY:
        return
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.dialects.postgresql import Insert  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    from headrace.database import engine  # noqa: PLC0415
    from headrace.database.documents import DOCUMENTS  # noqa: PLC0415

    upgrade, conflicts = engine.upgrade, Insert.on_conflict_do_nothing
    (name,) = (each.name for each in DOCUMENTS.indexes if each.unique)

    async def upgraded(url: str, *args: Any) -> None:
        await upgrade(url, *args)
        connecting = create_async_engine(engine.database_url(url))
        async with connecting.begin() as connection:
            await connection.execute(text(f"DROP INDEX IF EXISTS {name}"))
        await connecting.dispose()

    def whatever_is_there(insert: Any, *args: Any, **kwargs: Any) -> Any:
        return insert if "index_where" in kwargs else conflicts(insert, *args, **kwargs)

    engine.upgrade = upgraded
    Insert.on_conflict_do_nothing = whatever_is_there


def no_tenant_filter() -> None:
    """Whoever knows an id has the document, whosever it is."""
    if _NO_GATEWAY:
        return
    from headrace_gateway.records import Records  # noqa: PLC0415
    from sqlalchemy import select  # noqa: PLC0415

    from headrace.database.documents import DOCUMENTS  # noqa: PLC0415

    get = Records.get

    async def anybodys(records: Any, tenant: str, id_: str) -> Any:
        query = select(DOCUMENTS.c.tenant).where(DOCUMENTS.c.id == id_)
        async with records._database.reading() as connection:
            owner = await connection.scalar(query)
        return await get(records, owner or tenant, id_)

    Records.get = anybodys


_NO_GATEWAY = "headrace_gateway" not in sys.orig_argv
"""Others need not import what it is made of."""


def _by_name(
    *mutations: Callable[[], None],
) -> Iterator[tuple[str, Callable[[], None]]]:
    for mutation in mutations:
        yield mutation.__name__, mutation


MUTATIONS = dict(
    _by_name(
        commit_before_effect,
        auto_commit,
        auto_offset_reset_latest,
        swallow_cancellation,
        no_version_fence,
        random_point_ids,
        dead_letter_on_outage,
        skip_answer_validation,
        out_of_order_commit,
        outbox_outside_transaction,
        no_unique_name,
        no_tenant_filter,
    )
)
