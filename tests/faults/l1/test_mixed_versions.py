"""Row 38: bytes of an older release, and of a newer one, flow through."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.fingerprint import model_part
from headrace.handler import Record
from headrace.identity import DocumentKey
from headrace.messages import Lane
from headrace.qdrant_payload import HOLE
from headrace.topology import Noun
from tests.data.golden import v1_values as golden
from tests.faults.l1.model import text_of
from tests.faults.l1.pipeline import TOPOLOGY, Pipeline
from tests.faults.l1.simulation import simulate
from tests.faults.l1.stages import FINGERPRINT, MODEL, chunks_of
from tests.faults.reporting import Row

BYTES = Path(__file__).parents[2] / "data" / "golden" / "v1"
UNKNOWN_FIELD = b"\xc2\x3e\x05later"
"""Field 1000 of a message, as a later contract may have it."""


def released(name: str) -> bytes:
    """The kept bytes, but for the settings that made them: those are today's."""
    value = (BYTES / f"{name}.bin").read_bytes()
    before = golden.DOCUMENT.fingerprint.encode()
    assert len(before) == len(FINGERPRINT)
    return value.replace(before, FINGERPRINT.encode())


def produce(pipeline: Pipeline, noun: Noun, name: str, key: DocumentKey) -> Record:
    topic = TOPOLOGY.topic(noun, Lane.BULK)
    broker = pipeline.cluster.brokers[topic]
    return broker.produce(topic, 0, key=key.record_key, value=released(name))


@pytest.mark.row("38", level=1, injected="bytes of the first release on every topic")
@pytest.mark.parametrize(
    ("noun", "name", "texts"),
    [
        (Noun.DOCUMENTS, "document_event_inline", ["# Réseau"]),
        (Noun.TEXTS, "loaded_text_inline", None),
        (Noun.CHUNKS, "chunk_slice", [chunk.text for chunk in golden.CHUNKS]),
        (Noun.VECTORS, "embedded_slice", [chunk.text for chunk in golden.CHUNKS]),
    ],
)
def test_row_38_first_release(
    row: Row, noun: Noun, name: str, texts: list[str] | None
) -> None:
    """An older stage's output, before today's next stage: indexed, no letter.

    The kept values agree with the contract, not with each other: the manifest of the
    slices is not that of their texts, so that the oracle would object.
    """

    async def scenario(pipeline: Pipeline) -> None:
        produce(pipeline, noun, name, golden.KEY)
        await pipeline.settled()
        shown = await pipeline.shown(golden.KEY)
        assert shown, "it is lost"
        if texts is not None:
            assert shown == texts
        points = await pipeline.points(golden.KEY)
        holes = [point for point in points if point.payload["state"] == HOLE]
        assert len(holes) == (noun is Noun.VECTORS)
        assert not pipeline.letters_so_far()

    assert model_part(MODEL) in FINGERPRINT
    simulate(scenario, verify=False)
    row.result(note=name)


@pytest.mark.row("38", level=1, injected="deletes of the first release on every topic")
@pytest.mark.parametrize(
    ("noun", "name"),
    [
        (Noun.DOCUMENTS, "document_event_delete"),
        (Noun.TEXTS, "loaded_text_delete"),
        (Noun.CHUNKS, "chunk_slice_delete"),
    ],
)
def test_row_38_deletes_of_the_first_release(row: Row, noun: Noun, name: str) -> None:
    key = golden.DELETED_KEY

    async def scenario(pipeline: Pipeline) -> None:
        if noun is Noun.DOCUMENTS:
            pipeline.upsert(key, text_of(key, 3), lane=Lane.BULK)
            await pipeline.settled()
        produce(pipeline, noun, name, key)
        await pipeline.settled()
        assert await pipeline.shown(key) is None
        assert not await pipeline.points(key)
        assert not pipeline.letters_so_far()

    simulate(scenario, verify=False)
    row.result(note=name)


def _with_more(produce: Callable[..., Record], *args: Any, **kwargs: Any) -> Record:
    kwargs["value"] = (kwargs["value"] or b"") + UNKNOWN_FIELD
    return produce(*args, **kwargs)


@pytest.mark.row(
    "38", level=1, injected="every record with a field of a later contract"
)
def test_row_38_later_contract(row: Row) -> None:
    """A newer stage before an older one: what is unknown is passed over."""

    async def scenario(pipeline: Pipeline) -> None:
        for group in pipeline.cluster.groups.values():
            group.produce = partial(_with_more, group.produce)
        keys = [DocumentKey("default", "books", f"d{number}") for number in range(5)]
        for number, key in enumerate(keys):
            pipeline.upsert(key, text_of(key, number))
            pipeline.upsert(key, text_of(key, number + 1), lane=Lane.BULK)
        pipeline.delete(keys[1])
        await pipeline.settled()
        assert not pipeline.letters_so_far()
        assert await pipeline.shown(keys[4]) == list(chunks_of(text_of(keys[4], 4)))

    for seed in range(5):
        simulate(scenario, seed=seed)
    row.result()
