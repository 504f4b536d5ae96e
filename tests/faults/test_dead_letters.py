"""Rows 28 to 30: what cannot be read, told or sent; and what becomes of its letters."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from pathlib import Path

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from headrace import topics
from headrace.identity import DEFAULT_TENANT
from headrace.kafka_topic_ids import topic_ids
from headrace.messages import (
    ChunkSlice,
    DocumentEvent,
    EmbeddedSlice,
    Lane,
    LoadedText,
    Metadata,
    ObjectReference,
    Stage,
    State,
    TextPart,
)
from headrace.open_letters import open_letters
from headrace.topology import INPUT
from headrace.v1 import chunk_pb2, document_event_pb2
from headrace.wire import (
    encode_chunk_slice,
    encode_embedded_slice,
    encode_event,
    encode_loaded_text,
)
from tests.faults.commands import dlq, replay_all
from tests.faults.harness import Harness, documents_of, text_of
from tests.faults.provider import too_long
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.faults.sources import files, has_letters, visible
from tests.support.documents import revision, slices
from tests.support.eventually import eventually


def good(stage: Stage, collection: str) -> bytes:
    """A message of the contract, as the stage reads it."""
    document = revision(1, collection=collection)
    [embedded] = slices(document, 2)
    assert isinstance(embedded, EmbeddedSlice)
    chunks = ChunkSlice(
        document, 0, tuple(each.chunk for each in embedded.chunks), embedded.manifest
    )
    return {
        Stage.LOADER: encode_event(DocumentEvent(document.key, inline=b"text")),
        Stage.CHUNKER: encode_loaded_text(LoadedText(document, (TextPart("text"),))),
        Stage.EMBEDDER: encode_chunk_slice(chunks),
        Stage.INDEXER: encode_embedded_slice(embedded),
    }[stage]


def rubbish(stage: Stage, collection: str) -> dict[str, bytes | None]:
    """Every kind of what is none."""
    right = good(stage, collection)
    other = Stage.LOADER if stage is Stage.INDEXER else Stage.INDEXER
    found: dict[str, bytes | None] = {
        "empty": b"",
        "random": hashlib.sha512(stage.encode()).digest() * 3,
        "truncated": right[: len(right) * 2 // 3],
        "of another stage": good(other, collection),
        "invalid UTF-8": right.replace(b"moby", b"mo\xffy"),
        "text": b"This is no message.",
    }
    if stage is Stage.LOADER:
        event = document_event_pb2.DocumentEvent.FromString(right)
        event.operation = 99
        found["unknown operation"] = event.SerializeToString()
        event.operation = 1
        event.ClearField("key")
        found["no key"] = event.SerializeToString()
    else:
        found["null"] = None
    if stage is Stage.EMBEDDER:
        chunks = chunk_pb2.ChunkSlice.FromString(right)
        chunks.chunks[0].token_count = -5
        found["negative size"] = chunks.SerializeToString()
        chunks.chunks[0].token_count = 5
        chunks.document.ClearField("key")
        found["without its document"] = chunks.SerializeToString()
    return found


@pytest.mark.row("28", level=2, injected="every kind of rubbish for every stage, twice")
async def test_row_28_rubbish_at_every_stage(harness: Harness, row: Row) -> None:
    sent: dict[Stage, Counter[tuple[bytes | None, bytes | None]]] = {}
    for stage in Stage:
        topic = harness.settings.topology.topic(INPUT[stage], Lane.INTERACTIVE)
        sent[stage] = Counter()
        for number, value in enumerate(rubbish(stage, harness.collection).values()):
            # The same bytes twice are two records, and must be two letters.
            for key in (None if value else b"no key", b"no key of ours"):
                await harness.send_raw(
                    value,
                    key=key,
                    topic=topic,
                    partition=number % harness.settings.partitions,
                    headers=[("x-kind", b"\xff\x00")],
                )
                sent[stage][key, value] += 1
    await harness.load(9)
    count = sum(each.total() for each in sent.values())
    await harness.conclude(row, letters=None, note=f"{count} letters, byte for byte")

    for stage in Stage:
        letters = await harness.dead_letters(stage)
        kept = Counter(
            (each.letter.original_key, each.letter.original_value) for each in letters
        )
        assert kept == sent[stage], stage
        for each in letters:
            assert ("x-kind", b"\xff\x00") in each.letter.original_headers
            assert each.letter.error.code
            assert each.letter.error.message
    await drop_rubbish(harness)


async def drop_rubbish(harness: Harness) -> None:
    """Unreadable letters fail again; a drop takes them, and says who and why."""
    listed = await dlq(harness, "list", "--stage", "chunker")
    one = listed.value["dead_letters"][0]["id"]
    again = await dlq(harness, "replay", one)
    assert again.code == 1
    assert [each["outcome"] for each in again.value["replayed"]] == ["failed_again"]
    after = await dlq(harness, "list", "--stage", "chunker")
    assert {each["id"] for each in after.value["dead_letters"]} == {
        each["id"] for each in listed.value["dead_letters"]
    }

    saved = harness.stack.directory / "saved"
    shown = await dlq(harness, "show", one, "--save", saved)
    letters = {each.id: each.letter for each in await harness.dead_letters("chunker")}
    assert saved.read_bytes() == (letters[one].original_value or b"")
    assert shown.value["decoded"] is None

    refused = await dlq(harness, "drop", "--all", "--reason", " ")
    assert refused.code == 2
    # Other rows may have left some, too.
    count = len(await open_letters(harness.settings))
    dropped = await dlq(harness, "drop", "--all", "--reason", "rubbish of row 28")
    assert (dropped.code, len(dropped.value["dropped"])) == (0, count)
    left = await dlq(harness, "list")
    assert left.value["dead_letters"] == []


@pytest.mark.row("28", level=2, injected="replay of letters once their cause is gone")
async def test_row_28_replay_after_a_fix(harness: Harness, row: Row) -> None:
    """A letter of a stage each, whose cause is a file or the model.

    The indexer has none that could be mended from outside but the one of row 40.
    """
    async with files(harness) as folder:
        late = folder / "late.txt"
        await harness.upsert("late", text_of("late"), uri=late.as_uri())
        await eventually(lambda: has_letters(harness, 1))
        await asyncio.to_thread(late.write_text, text_of("late"))

    harness.provider.poison["poisoned"] = too_long()
    await harness.upsert("hole", "poisoned grain")
    await harness.drained()
    harness.provider.poison.clear()

    objects = harness.stack.directory / "objects"
    harness.stage("chunker").stop()
    await harness.upsert("claimed", "\n\n".join(["grain and meal " * 9] * 3000))
    texts = await eventually_files(objects / "texts" / DEFAULT_TENANT)
    for text in texts:
        text.rename(text.with_name(f"{text.name}.away"))
    harness.stage("chunker").cont()
    await eventually(lambda: has_letters(harness, 3))
    for text in texts:
        text.with_name(f"{text.name}.away").rename(text)

    letters = await harness.letters()
    assert {(each.document, each.letter.stage) for each in letters} == {
        ("late", Stage.LOADER),
        ("claimed", Stage.CHUNKER),
        ("hole", Stage.EMBEDDER),
    }
    assert await replay_all(harness) == {"resolved": 3}
    await harness.conclude(row, note="loader, chunker, embedder: all indexed")
    for document in ("late", "claimed", "hole"):
        state = await harness.state(document)
        assert state is not None
        assert state.live_set is not None
        assert state.visible.failed == 0


async def eventually_files(folder: Path) -> list[Path]:
    """Files below a folder, once there are any that are whole."""
    await eventually(lambda: bool(whole(folder)))
    return whole(folder)


def whole(folder: Path) -> list[Path]:
    return [each for each in folder.glob("*") if "#" not in each.name]


@pytest.mark.row("29", level=2, injected="the topic of dead letters is gone")
async def test_row_29_no_topic_for_dead_letters(harness: Harness, row: Row) -> None:
    harness.spoilt = True
    topology = harness.settings.topology
    topic, dead = (
        topology.topic(INPUT[Stage.LOADER], Lane.INTERACTIVE),
        topology.dlq(Stage.LOADER),
    )
    await harness.admin.delete_topics([dead])
    await eventually(lambda: gone(harness, dead))
    await harness.send_raw(b"rubbish", key=None, topic=topic, partition=0)
    loader = harness.stage("loader")
    await eventually(lambda: held(harness))

    # What cannot be told is not committed; the other partitions go on.
    names = await harness.load(12)
    await eventually(lambda: some_visible(harness, names))
    waiting = await harness.waiting()
    assert waiting[Stage.LOADER] >= 1
    pid = loader.pid

    await topics.apply(harness.admin, topology, replication_factor=1)
    await harness.conclude(row)
    assert loader.pid == pid
    [letter] = await harness.dead_letters("loader")
    assert letter.letter.original_value == b"rubbish"


async def gone(harness: Harness, topic: str) -> bool:
    return not await topic_ids(harness.admin._client, [topic])


async def held(harness: Harness) -> bool:
    loader = await harness.metrics("loader")
    return loader.value("retries_total", reason="topic_missing") > 0


async def some_visible(harness: Harness, names: list[str]) -> bool:
    return any([await visible(harness, name) for name in names])


@pytest.mark.row("29", level=2, injected="a dead letter larger than its topic takes")
async def test_row_29_a_letter_by_reference(harness: Harness, row: Row) -> None:
    large = b"\xff" * (950 * 1024)
    await harness.send_raw(large, key=harness.key("large").record_key)
    await harness.load(6)
    await harness.conclude(row, letters=1, note="kept by reference, byte for byte")
    [letter] = await harness.letters()
    assert letter.letter.original_value is None
    assert letter.letter.original_object is not None
    saved = harness.stack.directory / "saved"
    shown = await dlq(harness, "show", letter.id, "--save", saved)
    assert shown.code == 0
    assert saved.read_bytes() == large


async def limit_topic(harness: Harness, topic: str, max_bytes: int) -> None:
    await harness.admin.alter_configs(
        [
            ConfigResource(
                ConfigResourceType.TOPIC,
                topic,
                configs={"max.message.bytes": str(max_bytes)},
            )
        ]
    )


@pytest.mark.row("30", level=2, injected="a record larger than its topic takes")
async def test_row_30_a_record_too_large(harness: Harness, row: Row) -> None:
    topology = harness.settings.topology
    texts = topology.topic(INPUT[Stage.CHUNKER], Lane.INTERACTIVE)
    harness.spoilt = True
    await limit_topic(harness, texts, 4096)
    noise = "".join(hashlib.sha256(b"%d" % n).hexdigest() + " " for n in range(500))
    await harness.upsert("large", noise)
    await harness.load(12)
    # The partition goes on, and so does the broker's idempotent sequence.
    settled = await harness.settled(letters=1)
    [letter] = await harness.letters()
    assert (letter.document, letter.letter.error.code) == ("large", "record_too_large")
    await limit_topic(harness, texts, topology.max_message_bytes)
    assert await replay_all(harness) == {"resolved": 1}
    after = await harness.settled()
    row.result(
        lost=settled.lost + after.lost,
        duplicates=settled.duplicates + after.duplicates,
        note="others went on; replayed once the topic took it",
        details=settled.details + after.details,
    )


@pytest.mark.row("30", level=2, injected="a document of 50 MB (scaled) by claim check")
async def test_row_30_a_huge_document(harness: Harness, row: Row) -> None:
    text = "\n\n".join(f"Sack {n} of rye and {n} of wheat." for n in range(4000))
    page = text.encode().ljust(int(scaled(50_000_000)))
    folder = harness.stack.directory / "objects" / "uploads" / DEFAULT_TENANT
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread((folder / harness.collection).write_bytes, page)
    uri = f"uploads/{DEFAULT_TENANT}/{harness.collection}"
    event = DocumentEvent(
        harness.key("huge"),
        object=ObjectReference(uri, len(page), hashlib.sha256(page).digest()),
        metadata=Metadata(name="huge.txt"),
    )
    await harness.send_raw(encode_event(event), key=event.key.record_key)
    harness.ledger.expect("huge", text)
    names = await harness.load(12)
    await harness.conclude(row)
    state = await harness.state("huge")
    assert state is not None
    assert state.visible.count > 1000
    assert all([await harness.points(name) for name in names])
    row.note = f"{len(page) // 1_000_000} MB, {state.visible.count} chunks"


# -- replays ----------------------------------------------------------------------


async def with_a_hole(harness: Harness, document: str, *, version: int = 1) -> str:
    """A document of several chunks of which one has no vector; its text."""
    text = "\n\n".join(
        [
            text_of(document, version, 60),
            f"poisoned {version} " + text_of("hole", version, 60),
            text_of(f"{document} end", version, 60),
        ]
    )
    harness.provider.poison[f"poisoned {version}"] = too_long()
    await harness.upsert(document, text)
    await harness.drained()
    return text


@pytest.mark.row(
    "case", level=2, injected="replay of a hole after its revision became visible"
)
async def test_case_replay_after_its_revision_became_visible_with_a_hole(
    harness: Harness, row: Row
) -> None:
    await with_a_hole(harness, "first")
    before = await harness.state("first")
    assert before is not None
    assert before.visible.failed == 1
    again = await replay_all(harness)
    assert again == {"failed_again": 1}
    assert len(await harness.letters()) == 1

    harness.provider.poison.clear()
    assert await replay_all(harness) == {"resolved": 1}

    after = await harness.state("first")
    assert after is not None
    assert (after.visible.revision, after.visible.failed) == (
        before.visible.revision,
        0,
    )
    await harness.conclude(row)


@pytest.mark.row("case", level=2, injected="replay of a hole after it was superseded")
async def test_case_replay_after_it_was_superseded(harness: Harness, row: Row) -> None:
    await with_a_hole(harness, "first")
    harness.provider.poison.clear()
    await harness.upsert("first", text_of("first", 2, 60))
    await harness.drained()
    asked = len(harness.provider.asked)

    answer = await dlq(harness, "replay", "--all", "--collection", harness.collection)

    assert [(each["outcome"], each["state"]) for each in answer.value["replayed"]] == [
        ("resolved", State.SUPERSEDED)
    ]
    assert len(harness.provider.asked) == asked
    await harness.conclude(row, note="nothing was sent or paid for")


@pytest.mark.row("case", level=2, injected="an update with a hole, then its replay")
async def test_case_replay_publishes_an_update_that_was_kept_back(
    harness: Harness, row: Row
) -> None:
    await harness.upsert("first", text_of("first", 1, 60))
    await harness.drained()
    old = await harness.state("first")
    await with_a_hole(harness, "first", version=2)
    kept = await harness.state("first")
    assert old is not None
    assert kept is not None
    assert kept.visible == old.visible
    harness.provider.poison.clear()

    assert await replay_all(harness) == {"resolved": 1}

    state = await harness.state("first")
    assert state is not None
    assert state.visible.revision == state.accepted.revision > old.visible.revision
    await harness.conclude(row)


@pytest.mark.row(
    "case", level=2, injected="a hole that a redelivery turns into a vector"
)
async def test_case_a_hole_that_a_redelivery_turns_into_a_vector(
    harness: Harness, row: Row
) -> None:
    # The letter of the hole is the first record that the embedder sends, the slice
    # the second.
    embedder = harness.failpoint("embedder", "after_produce_before_commit", at=2)
    harness.provider.poison["poisoned"] = too_long()
    await harness.upsert(
        "first", "\n\n".join(["poisoned " + text_of("a", 1, 60), text_of("b", 1, 60)])
    )
    await embedder.ended()
    await eventually(lambda: shown_with_a_hole(harness))
    harness.provider.poison.clear()
    await harness.evict("embedder")
    await embedder.start()

    await harness.drained()
    state = await harness.state("first")
    assert state is not None
    assert state.visible.failed == 0
    # Its letter went out before; a replay finds the vector and lets it go.
    assert documents_of(await harness.letters()) == {"first"}
    assert await replay_all(harness) == {"resolved": 1}
    await harness.conclude(row)


async def shown_with_a_hole(harness: Harness) -> bool:
    if not await visible(harness, "first"):
        return False
    state = await harness.state("first")
    return state is not None and state.visible.failed == 1


@pytest.mark.row("case", level=2, injected="letters of a document that others delete")
async def test_case_a_deletion_resolves_letters(harness: Harness, row: Row) -> None:
    await with_a_hole(harness, "first")
    await with_a_hole(harness, "other")
    listed = await dlq(harness, "list", "--collection", harness.collection)
    assert len(listed.value["dead_letters"]) == 2
    await harness.delete("first")
    await harness.drained()

    left = await dlq(harness, "list", "--collection", harness.collection)

    assert [each["document"] for each in left.value["dead_letters"]] == ["other"]
    harness.provider.poison.clear()
    assert await replay_all(harness) == {"resolved": 1}
    await harness.conclude(row)
