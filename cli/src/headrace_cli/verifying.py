"""``headrace verify``: the oracle over a real Kafka and a real store."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path

from headrace.group_offsets import all_offsets
from headrace.identity import DocumentKey, InvalidKeyError
from headrace.kafka_clients import reader
from headrace.messages import DeadLetter, StatusEvent
from headrace.objects import Objects
from headrace.open_letters import open_letters
from headrace.parked_topic import parked_records
from headrace.qdrant import QdrantStore
from headrace.settings import Settings
from headrace.status import status_of
from headrace.verify import Finding, Oracle, PartitionOffsets
from headrace_cli.collecting import collect
from headrace_cli.failures import EXIT_FAILED, EXIT_OK
from headrace_cli.opening import Needs, opened
from headrace_cli.output import Output


class KafkaReaders:
    """What the oracle reads of Kafka: offsets, letters and statuses."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def offsets(self) -> Sequence[PartitionOffsets]:
        """Offsets of all stages' inputs, both lanes."""
        return await all_offsets(self._settings)

    async def letters(self) -> AsyncGenerator[DeadLetter, None]:
        """Every letter that is not resolved."""
        for each in await open_letters(self._settings):
            yield each.letter

    async def parked(self) -> AsyncGenerator[DocumentKey, None]:
        """Documents of the events that wait because their collection is paused."""
        async for record in parked_records(self._settings):
            with suppress(InvalidKeyError):
                yield DocumentKey.from_record_key(record.key or b"")

    async def statuses(self) -> AsyncGenerator[StatusEvent, None]:
        """Everything on the status topic."""
        topic = self._settings.topology.status
        async with reader(self._settings, topic) as status:
            async for record in status.all_so_far():
                if (event := status_of(record)) is not None:
                    yield event


async def verify_all(*, data_dir: Path, repair: bool, output: Output) -> int:
    """Look, maybe repair, print; the exit code."""
    needs = Needs(broker=True, store=True)
    async with opened(data_dir, needs, output) as pipeline:
        # First of all: a bad URL is told before anything is repaired.
        objects = Objects.from_settings(pipeline.settings) if repair else None
        store = QdrantStore.from_settings(pipeline.settings)
        readers = KafkaReaders(pipeline.settings)
        oracle = Oracle(
            store,
            offsets=readers,
            letters=readers,
            statuses=readers,
            parked=readers,
        )
        try:
            report = await (oracle.repair() if repair else oracle.verify())
        finally:
            await store.close()
        removed = 0
        if objects is not None:
            letters = [each async for each in readers.letters()]
            removed = await collect(objects, pipeline.settings, letters)
    output.table(
        ["what", "document", "detail"],
        [(each.kind, _document(each), each.detail) for each in report.findings],
    )
    counts = dict(sorted(report.counts.items()))
    output.text(", ".join(f"{count} {name}" for name, count in counts.items()))
    if report.repaired:
        output.text(f"{report.repaired} repaired")
    if removed:
        output.text(f"{removed} texts that nothing refers to removed")
    output.text(
        "nothing lost, nothing twice, nothing left behind"
        if report.clean
        else f"{len(report.findings)} findings"
    )
    if any(each.repairable for each in report.findings):
        output.text("`headrace verify --repair` puts right what can be")
    output.answer(
        {
            "clean": report.clean,
            "findings": [
                {
                    "kind": str(each.kind),
                    "document": _document(each),
                    "detail": each.detail,
                    "repairable": each.repairable,
                }
                for each in report.findings
            ],
            "counts": counts,
            "repaired": report.repaired,
            "texts_removed": removed,
        }
    )
    return EXIT_OK if report.clean else EXIT_FAILED


def _document(finding: Finding) -> str:
    return str(finding.key) if finding.key else ""
