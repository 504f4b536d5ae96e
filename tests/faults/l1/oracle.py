"""What must hold in the end: the four parts of the oracle of docs/reliability.md."""

from __future__ import annotations

from headrace_embedder.providers.hash_provider import hash_vector

from headrace.identity import DocumentKey
from headrace.messages import DeadLetter
from headrace.qdrant_payload import HOLE, LIVE
from headrace.verify import Finding, Kind, Oracle
from tests.faults.l1.network import DIMENSIONS
from tests.faults.l1.pipeline import Pipeline
from tests.faults.l1.stages import chunks_of

EXPECTED_CODES = frozenset(
    {
        *("rejected_by_provider", "provider_failed", "provider_timeout", "bad_answer"),
        *("fetch_failed", "crashed_process"),
    }
)
"""Of letters that the simulation's faults may cause; each can be replayed. The last is
for records in whose midst three processes in a row were killed."""
LEFT_BY_STRAYS = frozenset({Kind.STALE, Kind.WRONG_STATUS, Kind.WRONG_FAILED_COUNT})
"""What a call may leave that takes effect after its caller has gone: `verify --repair`
and the sweep are there for it, and no search shows it."""


def embed(text: str) -> bytes:
    return hash_vector(text, DIMENSIONS)


async def check_end(pipeline: Pipeline) -> None:
    """Settle, judge, replay every letter, settle, and judge for good.

    Raises:
        AssertionError: something is lost, doubled, stale or half there.
    """
    pipeline.heal()
    await pipeline.settled()
    await _agree(pipeline)
    replayable = _replayable(pipeline)
    pipeline.chance.shuffle(replayable)
    for letter in replayable:
        pipeline.replay(letter)
    before = pipeline.letters_written()
    await pipeline.settled()
    assert pipeline.letters_written() == before, "a replay failed though all is well"
    await _agree(pipeline)
    for key in pipeline.keys:
        await _at_its_newest(pipeline, key)


def _replayable(pipeline: Pipeline) -> list[DeadLetter]:
    """The letters that may be replayed; poison stays what it is.

    Raises:
        AssertionError: a letter for which there is no cause, or one is missing.
    """
    places = {
        (record.topic, record.partition, record.offset): record
        for record in pipeline.poison
    }
    replayable: list[DeadLetter] = []
    for letter in pipeline.letters_so_far():
        place = (letter.origin_topic, letter.origin_partition, letter.origin_offset)
        record = places.pop(place, None)
        if record is None:
            assert letter.error.code in EXPECTED_CODES, letter
            replayable.append(letter)
            continue
        kept = (letter.original_key, letter.original_value, letter.original_headers)
        assert kept == (record.key, record.value, record.headers), "other bytes"
    assert not places, f"poison without a letter: {list(places)}"
    return replayable


async def _agree(pipeline: Pipeline) -> None:
    """State records, points, offsets, letters and statuses say the same."""
    oracle = Oracle(
        pipeline.store,
        offsets=pipeline,
        letters=pipeline,
        statuses=pipeline,
        embed=embed,
    )
    report = await oracle.verify()
    findings = [each for each in report.findings if not _excused(each, pipeline)]
    assert not findings, findings
    if report.findings:
        report = await oracle.repair()
        left = [each for each in report.findings if each.kind is not Kind.WRONG_STATUS]
        assert not left, left


def _excused(finding: Finding, pipeline: Pipeline) -> bool:
    return pipeline.network.strays > 0 and finding.kind in LEFT_BY_STRAYS


async def _at_its_newest(pipeline: Pipeline, key: DocumentKey) -> None:
    event = pipeline.newest(key)
    assert event is not None
    shown, points = await pipeline.shown(key), await pipeline.points(key)
    if event.data is None:
        assert shown is None, f"{key} is deleted and shows {shown}"
        assert not points, f"{key} is deleted and has points"
        return
    assert shown is not None, f"{key} is lost"
    assert shown == list(chunks_of(event.data)), f"{key} shows {shown}"
    assert len(points) == len(shown), f"{key} has stale points"
    assert all(point.payload["live"] == LIVE for point in points)
    assert all(point.payload["state"] != HOLE for point in points)
