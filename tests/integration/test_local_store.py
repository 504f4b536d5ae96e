"""The local store as a process: what survives, and what a stock Qdrant client sees."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest
from qdrant_client import QdrantClient, models

from headrace.errors import DocumentFailure, SharedFailure
from headrace.identity import DocumentKey
from headrace.messages import Hole
from headrace.qdrant import QdrantStore
from headrace.store import Flip, RemoveObsolete, SetLive, StoreChunks, WriteAccepted
from tests.support.store_process import StoreProcess, memory_dir
from tests.support.store_values import (
    SPEC,
    accept,
    accepted,
    chunk,
    chunks,
    document,
    floats,
    set_of,
)

COLLECTION = "docs"
KEYS = [DocumentKey("default", COLLECTION, f"d{number}") for number in range(50)]


@pytest.fixture
def process(data_dir: Path) -> Iterator[StoreProcess]:
    process = StoreProcess(data_dir)
    process.start()
    yield process
    process.stop()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """In memory where there is such a thing: only processes die here, no machines."""
    with TemporaryDirectory(dir=memory_dir()) as directory:
        yield Path(directory, "data")


@pytest.fixture
def client(process: StoreProcess) -> Iterator[QdrantClient]:
    host, port = process.url.removeprefix("http://").split(":")
    client = QdrantClient(
        host=host, grpc_port=int(port), prefer_grpc=True, check_compatibility=False
    )
    yield client
    client.close()


async def test_what_was_acknowledged_survives_kill_9(process: StoreProcess) -> None:
    store = QdrantStore(process.url)
    await store.ensure_collection(COLLECTION, SPEC)
    acknowledged: list[DocumentKey] = []
    ten = asyncio.Event()

    async def ingest() -> None:
        for key in KEYS:
            owner = document(key)
            await store.apply(
                COLLECTION,
                [
                    accept(key, 1),
                    chunks(owner, 20, text="x" * 2000),
                    SetLive(set_of(owner)),
                    Flip(set_of(owner), 20, 0),
                ],
            )
            acknowledged.append(key)
            if len(acknowledged) == 10:
                ten.set()

    writing = asyncio.create_task(ingest())
    await ten.wait()
    process.kill()
    with pytest.raises(SharedFailure):
        await writing
    await store.close()

    process.start()
    store = QdrantStore(process.url)
    await store.ensure_collection(COLLECTION, SPEC)
    states = await store.read_states(COLLECTION, KEYS)
    for key in acknowledged:
        wanted = set_of(document(key))
        assert states[key].live_set == wanted
        assert await store.count(COLLECTION, wanted) == 20
    query = floats(1, 0, 0, 0)
    hits = await store.search(COLLECTION, query, limit=2000)
    assert len(hits) >= 20 * len(acknowledged)
    await ingest()
    assert len(await store.search(COLLECTION, query, limit=2000)) == 20 * len(KEYS)
    await store.close()


async def test_changes_and_removals_survive_kill_9_too(process: StoreProcess) -> None:
    key = KEYS[0]
    old, new = document(key, 1), document(key, 2)
    store = QdrantStore(process.url)
    await store.ensure_collection(COLLECTION, SPEC)
    await store.apply(
        COLLECTION,
        [
            accept(key, 1),
            chunks(old, 30),
            Flip(set_of(old), 30, 0),
            WriteAccepted(key, accepted(2), accepted(1)),
            StoreChunks((chunk(new, 0, hole=Hole("rejected")),)),
            StoreChunks((chunk(new, 0), chunk(new, 1))),
            SetLive(set_of(new)),
            Flip(set_of(new), 2, 0),
            RemoveObsolete(key, 2, 0),
        ],
    )
    before = sorted(
        [point async for point in store.scroll_points(COLLECTION)],
        key=lambda point: point.id,
    )
    state = await store.read_states(COLLECTION, [key])
    assert len(before) == 2
    await store.close()
    process.kill()
    process.start()
    store = QdrantStore(process.url)
    after = [point async for point in store.scroll_points(COLLECTION)]
    assert sorted(after, key=lambda point: point.id) == before
    assert await store.read_states(COLLECTION, [key]) == state
    await store.close()


async def test_a_refused_write_leaves_nothing_behind_for_a_restart(
    process: StoreProcess,
) -> None:
    store = QdrantStore(process.url)
    await store.ensure_collection(COLLECTION, SPEC)
    owner = document(KEYS[0])
    with pytest.raises(DocumentFailure):
        await store.apply(
            COLLECTION,
            [StoreChunks((chunk(owner, 0), chunk(owner, 1, vector=(1.0,))))],
        )
    await store.close()
    process.kill()
    process.start()
    store = QdrantStore(process.url)
    assert [point async for point in store.scroll_points(COLLECTION)] == []
    await store.close()


async def test_a_directory_goes_on_after_many_removals_and_a_clean_stop(
    process: StoreProcess,
) -> None:
    store = QdrantStore(process.url)
    await store.ensure_collection(COLLECTION, SPEC)
    for key in KEYS[:3]:
        await store.apply(COLLECTION, [chunks(document(key, 1), 1000)])
    await store.apply(COLLECTION, [RemoveObsolete(key, 2, 0) for key in KEYS[:2]])
    await store.close()
    assert process.stop() == 0
    process.start()
    store = QdrantStore(process.url)
    kept = set_of(document(KEYS[2], 1))
    assert await store.count(COLLECTION, kept) == 1000
    await store.apply(COLLECTION, [SetLive(kept), chunks(document(KEYS[0], 3), 5)])
    query = floats(1, 0, 0, 0)
    assert len(await store.search(COLLECTION, query, limit=2000)) == 1000
    await store.apply(COLLECTION, [RemoveObsolete(KEYS[2], 2, 0)])
    assert await store.count(COLLECTION, kept) == 0
    assert await store.search(COLLECTION, query, limit=2000) == []
    await store.close()


def test_two_processes_cannot_have_one_directory(
    process: StoreProcess, data_dir: Path
) -> None:
    second = subprocess.run(
        [
            *(sys.executable, "-m", "headrace_local.store"),
            *("--data-dir", str(data_dir), "--port", "0"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 78
    assert str(process.pid) in second.stderr
    assert "--data-dir" in second.stderr


async def test_an_outage_is_a_shared_failure_and_ends_by_itself(
    process: StoreProcess,
) -> None:
    store = QdrantStore(process.url)
    await store.ensure_collection(COLLECTION, SPEC)
    port = process.url.rsplit(":", 1)[1]
    process.kill()
    with pytest.raises(SharedFailure) as caught:
        await store.read_states(COLLECTION, KEYS[:1])
    assert caught.value.reason == "store_unavailable"
    assert process.url in str(caught.value)
    process.start(port=int(port))
    async with asyncio.timeout(30):
        while True:
            try:
                await store.apply(COLLECTION, [accept(KEYS[0], 1)])
                break
            except SharedFailure:
                await asyncio.sleep(0.1)
    assert KEYS[0] in await store.read_states(COLLECTION, KEYS[:1])
    await store.close()


async def test_a_cancelled_call_ends_at_once(process: StoreProcess) -> None:
    store = QdrantStore(process.url)
    await store.ensure_collection(COLLECTION, SPEC)
    process.suspend()
    try:
        call = asyncio.create_task(store.apply(COLLECTION, [accept(KEYS[0], 1)]))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        slow = QdrantStore(process.url, call_timeout_s=0.2)
        with pytest.raises(SharedFailure):
            await slow.read_states(COLLECTION, KEYS)
        await slow.close()
    finally:
        process.resume()
    await store.apply(COLLECTION, [accept(KEYS[0], 1)])
    await store.close()


# A stock client


def test_a_stock_client_works_with_what_is_offered(client: QdrantClient) -> None:
    client.create_collection(
        "plain",
        vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE),
    )
    client.create_collection("bare", vectors_config={})
    names = {one.name for one in client.get_collections().collections}
    assert names == {"plain", "bare"}
    assert client.collection_exists("plain")
    assert not client.collection_exists("other")
    client.create_payload_index("plain", "n", models.PayloadSchemaType.INTEGER)
    client.upsert(
        "plain",
        [
            models.PointStruct(
                id=number,
                vector=[1.0, float(number), 0.0],
                payload={"n": number, "tags": ["a", "b"], "deep": {"er": number % 2}},
            )
            for number in range(30)
        ],
    )
    info = client.get_collection("plain")
    assert info.points_count == 30
    assert info.payload_schema["n"].data_type == models.PayloadSchemaType.INTEGER
    [best, second] = client.query_points(
        "plain", query=[1.0, 0.0, 0.0], limit=2, with_vectors=True
    ).points
    assert (best.id, second.id) == (0, 1)
    assert best.vector == [1.0, 0.0, 0.0]
    [answer] = client.query_batch_points(
        "plain",
        [models.QueryRequest(query=[1.0, 0.0, 0.0], limit=1, with_payload=["n"])],
    )
    assert answer.points[0].payload == {"n": 0}
    page, following = client.scroll("plain", limit=12)
    assert [point.id for point in page] == list(range(12))
    assert following == 12
    ordered, _ = client.scroll(
        "plain", limit=2, order_by=models.OrderBy(key="n", direction="desc")
    )
    assert [point.id for point in ordered] == [29, 28]
    client.set_payload("plain", {"n": 100}, points=[3, 999])
    client.delete("plain", [4])
    client.batch_update_points(
        "plain",
        [
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload={"deep": {}}, points=[5])
            ),
            models.DeleteOperation(delete=models.PointIdsList(points=[6])),
        ],
    )
    found = {one.id: one.payload for one in client.retrieve("plain", [3, 4, 5, 6, 7])}
    assert set(found) == {3, 5, 7}
    assert found[3] is not None
    assert found[3]["n"] == 100
    client.upsert("bare", [models.PointStruct(id=1, vector={}, payload={"a": 1})])
    assert client.count("bare").count == 1
    client.delete_collection("bare")
    assert not client.collection_exists("bare")


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        (models.FieldCondition(key="n", match=models.MatchValue(value=3)), 1),
        (models.FieldCondition(key="s", match=models.MatchValue(value="s3")), 1),
        (models.FieldCondition(key="s", match=models.MatchValue(value="")), 0),
        (models.FieldCondition(key="n", match=models.MatchAny(any=[1, 2, 99])), 2),
        (models.FieldCondition(key="s", match=models.MatchAny(any=["s1", "x"])), 1),
        (
            models.FieldCondition(
                key="n", match=models.MatchExcept(**{"except": [1, 2]})
            ),
            8,
        ),
        (models.FieldCondition(key="n", range=models.Range(gte=3, lt=5)), 2),
        (models.FieldCondition(key="n", range=models.Range(gt=3, lte=5)), 2),
        (models.FieldCondition(key="deep.er", match=models.MatchValue(value=1)), 5),
        (models.HasIdCondition(has_id=[1, 2, 99]), 2),
        (models.IsEmptyCondition(is_empty=models.PayloadField(key="odd")), 5),
        (models.IsNullCondition(is_null=models.PayloadField(key="none")), 10),
        (
            models.Filter(
                should=[
                    models.HasIdCondition(has_id=[1]),
                    models.Filter(
                        must_not=[
                            models.FieldCondition(key="n", range=models.Range(lt=8))
                        ]
                    ),
                ]
            ),
            3,
        ),
        (
            models.NestedCondition(
                nested=models.Nested(
                    key="list",
                    filter=models.Filter(
                        must=[
                            models.FieldCondition(
                                key="a", match=models.MatchValue(value=3)
                            ),
                            models.FieldCondition(
                                key="b", match=models.MatchValue(value=4)
                            ),
                        ]
                    ),
                )
            ),
            1,
        ),
    ],
)
def test_filters_mean_what_they_mean_in_qdrant(
    filtered: QdrantClient, condition: models.Condition, count: int
) -> None:
    wanted = models.Filter(must=[condition])
    assert filtered.count("f", count_filter=wanted).count == count


@pytest.fixture(scope="module")
def filtered() -> Iterator[QdrantClient]:
    with TemporaryDirectory(dir=memory_dir()) as directory:
        process = StoreProcess(Path(directory, "data"))
        process.start()
        try:
            with _filtered(process) as client:
                yield client
        finally:
            process.stop()


@contextmanager
def _filtered(process: StoreProcess) -> Iterator[QdrantClient]:
    host, port = process.url.removeprefix("http://").split(":")
    client = QdrantClient(
        host=host, grpc_port=int(port), prefer_grpc=True, check_compatibility=False
    )
    client.create_collection("f", vectors_config={})
    client.upsert(
        "f",
        [
            models.PointStruct(
                id=number,
                vector={},
                payload={
                    "n": number,
                    "s": f"s{number}",
                    "deep": {"er": number % 2},
                    "none": None,
                    "list": [{"a": number, "b": 0}, {"a": number, "b": number + 1}],
                    **({"odd": 1} if number % 2 else {}),
                },
            )
            for number in range(10)
        ],
    )
    yield client
    client.close()


def test_what_is_not_offered_is_refused_by_name(filtered: QdrantClient) -> None:
    def refused(status: grpc.StatusCode, words: str) -> pytest.RaisesExc[grpc.RpcError]:
        return pytest.RaisesExc(
            grpc.RpcError,
            check=lambda error: error.code() is status and words in error.details(),
        )

    boolean = models.Filter(
        must=[models.FieldCondition(key="b", match=models.MatchValue(value=True))]
    )
    with refused(grpc.StatusCode.UNIMPLEMENTED, "boolean"):
        filtered.count("f", count_filter=boolean)
    with refused(grpc.StatusCode.UNIMPLEMENTED, "/qdrant.Points/Facet"):
        filtered.facet("f", "n")
    with refused(grpc.StatusCode.UNIMPLEMENTED, "sparse"):
        filtered.create_collection(
            "g", sparse_vectors_config={"s": models.SparseVectorParams()}
        )
    with refused(grpc.StatusCode.NOT_FOUND, "nowhere"):
        filtered.count("nowhere")
    with refused(grpc.StatusCode.ALREADY_EXISTS, "already exists"):
        filtered.create_collection("f", vectors_config={})
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "vector name"):
        filtered.upsert("f", [models.PointStruct(id=1, vector={"x": [1.0]})])
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "UUID"):
        filtered.retrieve("f", ["not-a-uuid"])
