"""What a row of level 2 works with: documents in, faults, and the oracle.

Each row has a collection of its own. ``settled`` waits until every stage is done, asks
the oracle (O1 to O4) and says what is lost or visible twice; anything else that does
not agree fails the row there and then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import RecordMetadata
from headrace_cli.verifying import KafkaReaders
from headrace_embedder.providers.hash_provider import hash_vector

from headrace.handler import Headers
from headrace.headers import event_headers
from headrace.identity import DEFAULT_TENANT, DocumentKey
from headrace.kafka import client_options
from headrace.lag import GroupOffsets
from headrace.messages import DocumentEvent, Lane, Operation, Stage
from headrace.open_letters import OpenLetter, open_letters
from headrace.qdrant import QdrantStore
from headrace.state import StateRecord
from headrace.store import CollectionSpec, StoredPoint
from headrace.topology import Noun
from headrace.verify import Finding, LedgerEntry, Oracle
from headrace.wire import encode_event
from tests.faults.ledger import Ledger, Visible, compare
from tests.faults.machines import PartMachine, Samples, StageMachine
from tests.faults.provider import FaultProvider
from tests.faults.proxy import Faults
from tests.faults.reporting import Row
from tests.faults.stack import DIMENSIONS, FaultStack

PATIENCE_S = 120.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Settled:
    """What the oracle says once every stage is done."""

    lost: int
    duplicates: int
    at: float
    """Monotonic time at which nothing waited any more."""
    details: str = ""


class _OneCollection(QdrantStore):
    """The store as far as one row is concerned."""

    only = ""

    async def collections(self) -> dict[str, CollectionSpec]:
        """The row's collection, where it has been made."""
        found = await super().collections()
        return {name: spec for name, spec in found.items() if name == self.only}


class Harness:
    """See the module.

    Attributes:
        collection: of this row's documents.
        ledger: what they must be in the end.
        spoilt: set it where the stack is no good for another row.
    """

    def __init__(self, stack: FaultStack, *, collection: str) -> None:
        self._stack = stack
        self._life = AsyncExitStack()
        self._began_ms = int(time.time() * 1000)
        self.collection = collection
        self.ledger = Ledger()
        self.spoilt = False
        self._entries: list[LedgerEntry] = []
        self._sent: dict[str, tuple[Lane, int]] = {}

    async def start(self) -> None:
        """Connect the suite's own clients, past the proxies."""
        async with AsyncExitStack() as life:
            self._producer = AIOKafkaProducer(
                **client_options(self.settings), acks="all", enable_idempotence=True
            )
            await self._producer.start()
            life.push_async_callback(self._producer.stop)
            self.admin = AIOKafkaAdminClient(**client_options(self.settings))
            await self.admin.start()
            life.push_async_callback(self.admin.close)
            self.store = _OneCollection.from_settings(self.settings)
            self.store.only = self.collection
            life.push_async_callback(self.store.close)
            self._offsets = GroupOffsets(self.settings)
            # Partitions that a row adds must not be overlooked.
            self._offsets._options["metadata_max_age_ms"] = 1000
            life.push_async_callback(self._offsets.stop)
            self._life = life.pop_all()

    async def close(self) -> None:
        """Disconnect; the stack goes on."""
        await self._life.aclose()

    # -- parts ------------------------------------------------------------------

    @property
    def settings(self) -> Any:
        """With addresses past the proxies."""
        return self._stack.settings

    @property
    def stack(self) -> FaultStack:
        return self._stack

    @property
    def provider(self) -> FaultProvider:
        """What the embedder asks; see ``provider.py``."""
        return self._stack.provider

    @property
    def broker(self) -> PartMachine:
        return self._stack.broker

    @property
    def store_machine(self) -> PartMachine:
        return self._stack.store

    def stage(self, name: str) -> StageMachine:
        """A stage's process, or a replica by its name."""
        return self._stack.stages[name]

    async def replica(self, stage: str, *, wait: bool = True) -> StageMachine:
        """One more process of a stage; it is ended after the row."""
        return await self._stack.replica(stage, wait=wait)

    def proxy(self, target: str, *users: str) -> Faults:
        """What lies before broker, store or provider: for all, or these processes."""
        return self._stack.faults(target, users)

    def failpoint(
        self, stage: str, point: str, *, at: int = 1, action: str = "kill9"
    ) -> StageMachine:
        """Arm a failpoint; ``.ended()`` or ``.wait_stopped()`` wait for it."""
        machine = self.stage(stage)
        machine.arm(point, at=at, action=action)
        return machine

    async def metrics(self, stage: str) -> Samples:
        """What a stage exports: ``.value("retries_total", reason="…")``."""
        return await self.stage(stage).metrics()

    async def ready(self, stage: str) -> bool:
        """Whether it says so; ``stage(name).not_ready()`` has the reason."""
        return await self.stage(stage).not_ready() is None

    def environment(self) -> dict[str, str]:
        """For a ``headrace`` command run by a row: everything past the proxies."""
        return self._stack.direct_environment()

    def pids(self) -> dict[str, int]:
        """Of the four stages: to see that none was started again."""
        return {stage: self.stage(stage).pid for stage in Stage}

    async def evict(self, stage: str) -> None:
        """Throw all members out of a stage's group, as the broker does with dead ones.

        Where a row kills many times, it need not wait for each session to end.
        """
        group = self.settings.topology.group(Stage(stage))
        for response in await self.admin.describe_consumer_groups([group]):
            for _, _, _, _, _, members, *_ in response.groups:
                for member in members:
                    await self.admin._send_request(LeaveGroupRequest(group, member[0]))

    # -- documents --------------------------------------------------------------

    def key(self, document: str) -> DocumentKey:
        return DocumentKey(DEFAULT_TENANT, self.collection, document)

    async def upsert(
        self,
        document: str,
        text: str,
        *,
        lane: Lane = Lane.INTERACTIVE,
        source_version: int | None = None,
        uri: str | None = None,
        fails: bool = False,
    ) -> RecordMetadata:
        """Send a document; returns when Kafka has it.

        Args:
            document: its id.
            text: what it says; with ``uri`` what the loader will find there.
            lane: which one it takes.
            source_version: where the source counts its versions.
            uri: sent instead of the text.
            fails: whether it ends as a dead letter, so that the ledger forgets it.
        """
        event = DocumentEvent(
            key=self.key(document),
            inline=None if uri else text.encode(),
            uri=uri,
            source_version=source_version,
        )
        return await self._send(event, text=text, lane=lane, counts=not fails)

    async def delete(
        self,
        document: str,
        *,
        lane: Lane = Lane.INTERACTIVE,
        source_version: int | None = None,
    ) -> RecordMetadata:
        """Send a delete; returns when Kafka has it."""
        event = DocumentEvent(
            key=self.key(document),
            operation=Operation.DELETE,
            source_version=source_version,
        )
        return await self._send(event, text=None, lane=lane, counts=True)

    async def _send(
        self, event: DocumentEvent, *, text: str | None, lane: Lane, counts: bool
    ) -> RecordMetadata:
        document = event.key.document_id
        last_lane, last_ms = self._sent.get(document, (lane, 0))
        while True:
            sent = await self.send_raw(
                encode_event(event),
                key=event.key.record_key,
                headers=event_headers(event),
                lane=lane,
            )
            # Across lanes the broker's clock is the order: never in one millisecond.
            if lane is last_lane or sent.timestamp > last_ms:
                break
        self._sent[document] = (lane, sent.timestamp)
        if counts:
            self._count(event, text)
        return sent

    def _count(self, event: DocumentEvent, text: str | None) -> None:
        self.ledger.accepted(
            event.key.document_id,
            operation=event.operation,
            text=text,
            source_version=event.source_version,
        )
        self._entries.append(
            LedgerEntry(event.key, event.operation, event.source_version)
        )

    def deleted(self, document: str) -> None:
        """Count a delete that a command has sent."""
        event = DocumentEvent(self.key(document), operation=Operation.DELETE)
        self._count(event, text=None)

    def promised(self, document: str, text: str, *, version: int = 1) -> None:
        """Count a document that the gateway has answered with 202."""
        event = DocumentEvent(
            self.key(document), inline=text.encode(), source_version=version
        )
        self._count(event, text)

    async def send_raw(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        lane: Lane = Lane.INTERACTIVE,
        topic: str | None = None,
        partition: int | None = None,
    ) -> RecordMetadata:
        """Send any bytes, to ``documents`` unless told; the ledger knows nothing."""
        return await self._producer.send_and_wait(
            topic or self.settings.topology.topic(Noun.DOCUMENTS, lane),
            value,
            key=key,
            partition=partition,
            headers=list(headers),
        )

    async def load(
        self, count: int, *, prefix: str = "document", words: int = 30, version: int = 1
    ) -> list[str]:
        """Send so many different documents at once; their ids."""
        names = [f"{prefix}/{number}" for number in range(count)]
        await asyncio.gather(
            *(self.upsert(name, text_of(name, version, words)) for name in names)
        )
        return names

    # -- what became of it ------------------------------------------------------

    async def waiting(self) -> dict[Stage, int]:
        """Records that each stage has not committed.

        Read downwards: a stage commits only after its output is in the next topic, so
        that all zeros mean that nothing is anywhere.
        """
        topology = self.settings.topology
        found = {}
        for stage in Stage:
            offsets = await self._offsets.read(
                topology.group(stage), list(topology.inputs(stage).values())
            )
            found[stage] = sum(max(0, end - at) for at, end in offsets.values())
        return found

    async def committed(self, stage: Stage) -> dict[TopicPartition, int]:
        """What a stage's group has committed of each partition."""
        topology = self.settings.topology
        offsets = await self._offsets.read(
            topology.group(stage), list(topology.inputs(stage).values())
        )
        return {partition: at for partition, (at, _) in offsets.items()}

    async def ends(self, topic: str) -> dict[TopicPartition, int]:
        """Where the next record of each partition will go."""
        await self._offsets.start()
        _, consumer = self._offsets.clients
        count = await self._offsets.partitions(topic)
        places = [TopicPartition(topic, number) for number in range(count)]
        return dict(await consumer.end_offsets(places))

    async def committed_sum(self) -> dict[Stage, int]:
        """Records that each stage has committed, ever."""
        return {stage: sum((await self.committed(stage)).values()) for stage in Stage}

    async def drained(self, timeout_s: float = PATIENCE_S) -> float:
        """Wait until nothing waits anywhere; the monotonic time of that.

        Raises:
            AssertionError: something still waits then; with the stages' own words.
        """
        waiting: dict[Stage, int] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    waiting = await self.waiting()
                    if not any(waiting.values()):
                        return time.monotonic()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            said = [
                f"{stage}: {count} waiting, "
                f"not ready because {await self.stage(stage).not_ready()}"
                for stage, count in waiting.items()
            ]
            raise AssertionError(
                f"not drained after {timeout_s:.0f} s: {'; '.join(said)}"
            ) from None

    async def settled(
        self,
        timeout_s: float = PATIENCE_S,
        *,
        letters: int | None = 0,
        patience_s: float = 0.0,
    ) -> Settled:
        """Wait until all is done and ask the oracle.

        Args:
            timeout_s: for every stage to be done.
            letters: how many of the row's documents' dead letters there must be;
                ``None``: the row counts them itself.
            patience_s: for the sweep to take what zombies have left, which nobody
                sees meanwhile.

        Raises:
            AssertionError: not done in time, another number of letters, or findings
                that are neither loss nor duplicates.
        """
        at = await self.drained(timeout_s)
        patient_until = time.monotonic() + patience_s
        while True:
            findings = await self._findings()
            if not findings or time.monotonic() > patient_until:
                break
            await asyncio.sleep(1)
        found = await self.letters()
        with_letters = {each.document for each in found}
        visible = await self._visible(with_letters)
        if letters is not None:
            assert len(found) == letters, [each.summary() for each in found]
        assert visible.lost or visible.twice or not findings, _told(findings)
        return Settled(
            lost=len(visible.lost),
            duplicates=len(visible.twice),
            at=at,
            details=f"{dict(visible.lost)} {dict(visible.twice)} {_told(findings)}",
        )

    async def conclude(
        self,
        row: Row,
        *,
        since: float | None = None,
        note: str = "",
        letters: int | None = 0,
        patience_s: float = 0.0,
    ) -> Settled:
        """``settled``, and the row says what it has shown.

        Args:
            row: whose end it is, or that of one of its parts.
            since: monotonic time of the end of the fault.
            note: what else was measured.
            letters: see ``settled``.
            patience_s: see ``settled``.
        """
        settled = await self.settled(letters=letters, patience_s=patience_s)
        row.result(
            lost=settled.lost,
            duplicates=settled.duplicates,
            recovery_s=None if since is None else max(settled.at - since, 0.0),
            note=note,
            details=settled.details,
        )
        return settled

    async def _findings(self) -> list[Finding]:
        """What the oracle finds about this row's documents, and in the topics."""
        readers = KafkaReaders(self.settings)
        oracle = Oracle(
            self.store,
            offsets=readers,
            letters=readers,
            statuses=readers,
            ledger=self._entries,
            embed=lambda text: hash_vector(text, DIMENSIONS),
        )
        return [
            finding
            for finding in (await oracle.verify()).findings
            if finding.key is None or finding.key.collection == self.collection
        ]

    async def _visible(self, with_letters: set[str]) -> Visible:
        """What is stored beside the ledger, but for documents that have a letter."""
        points: dict[str, list[StoredPoint]] = {}
        if self.collection in await self.store.collections():
            async for point in self.store.scroll_points(self.collection):
                points.setdefault(point.payload["document_id"], []).append(point)
        expected = self.ledger.expected
        for document in with_letters:
            expected.pop(document, None)
            points.pop(document, None)
        return compare(expected, points)

    async def letters(self) -> list[OpenLetter]:
        """Open dead letters of this row's documents."""
        return [
            each
            for each in await open_letters(self.settings)
            if each.letter.key and each.letter.key.collection == self.collection
        ]

    async def dead_letters(self, stage: str) -> list[OpenLetter]:
        """Open letters of a stage since the row began, also of unreadable records."""
        return [
            each
            for each in await open_letters(self.settings)
            if each.letter.stage == stage
            and each.letter.failed_at_ms >= self._began_ms
            and (
                each.letter.key is None or each.letter.key.collection == self.collection
            )
        ]

    async def points(self, document: str) -> list[StoredPoint]:
        """What is stored of a document, visible or not."""
        return [
            point
            async for point in self.store.scroll_points(
                self.collection, key=self.key(document)
            )
        ]

    async def point_ids(self) -> set[str]:
        """Of every point of the row's collection."""
        return {point.id async for point in self.store.scroll_points(self.collection)}

    async def state(self, document: str) -> StateRecord | None:
        """A document's state record."""
        key = self.key(document)
        return (await self.store.read_states(self.collection, [key])).get(key)


def text_of(document: str, version: int = 1, words: int = 30) -> str:
    """A text that no other document and version has."""
    return " ".join(
        f"{document} v{version} word{number}." for number in range(max(1, words // 3))
    )


def _told(findings: Sequence[Finding]) -> str:
    return "; ".join(f"{each.kind} {each.key} {each.detail}" for each in findings[:10])


def documents_of(letters: Iterable[OpenLetter]) -> set[str]:
    """Ids of the documents that letters are about."""
    return {each.document for each in letters}
