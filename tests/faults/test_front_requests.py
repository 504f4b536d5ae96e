"""Rows 30, 33, 45 to 48 at the front door: what may be asked of it, and by whom."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest

from headrace.database.documents import DOCUMENTS
from tests.faults.front import Front, GatewayMachine
from tests.faults.harness import Harness, text_of
from tests.faults.reporting import Row
from tests.faults.scale import scaled
from tests.support.eventually import eventually

PAIRS = 100
PAIRS_AT_ONCE = 5
MANY = 500
LATER = {429, 503}
MIB = 1024 * 1024


def codes(answers: Sequence[httpx.Response]) -> Counter[int]:
    return Counter(each.status_code for each in answers)


# -- row 33: the same, several times ------------------------------------------------


@pytest.mark.row("33", level=2, injected="the same request, at once at two gateways")
async def test_row_33_duplicate_submissions(
    harness: Harness, front: Front, row: Row
) -> None:
    collection = harness.collection
    gateways = (front.gateway, await front.another_gateway())
    text = text_of("mill")

    same = await asyncio.gather(
        *(
            front.ask(collection, "mill", text, gateway=gateways[number % 2])
            for number in range(10)
        )
    )
    assert codes(same) == {202: 10}
    assert len({each.text for each in same}) == 1
    replayed = [each for each in same if "idempotent-replayed" in each.headers]
    assert len(replayed) == 9
    other = await front.upload(collection, "mill", "other", once=f"{collection}/mill")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    id_ = same[0].json()["id"]

    # Of those who have seen the same version one writes the next.
    writers = [text_of("mill", version) for version in range(2, 8)]
    changed = await asyncio.gather(
        *(
            front.call(
                "PUT",
                f"/v1/documents/{id_}",
                gateway=gateways[number % 2],
                headers={"If-Match": same[0].headers["etag"]},
                json={"text": wanted},
            )
            for number, wanted in enumerate(writers)
        )
    )
    assert codes(changed) == {202: 1, 412: len(writers) - 1}
    (winner,) = (
        (wanted, answer)
        for wanted, answer in zip(writers, changed, strict=True)
        if answer.status_code == 202
    )
    assert winner[1].json()["version"] == 2

    harness.promised(id_, winner[0], version=2)
    await front.conclude(harness, row, note="one effective version")


async def pairs(front: Front, collection: str, gateways: Sequence[GatewayMachine]):
    """The same file twice at the same instant, many times; id and text of each."""

    async def pair(number: int) -> tuple[str, str]:
        name = f"wheel-{number}"
        text = text_of(name)
        while True:
            both = await asyncio.gather(
                *(
                    front.upload(collection, name, text, gateway=gateway)
                    for gateway in (gateways[0], gateways[-1])
                )
            )
            found = codes(both)
            if found[202]:
                break
            assert set(found) <= LATER, [each.text for each in both]
            await asyncio.sleep(0.2)
        if found != {202: 1, 409: 1}:
            # One was told to come later, and does.
            assert found[202] == 1, [each.text for each in both]
            assert set(found) - {202} <= LATER, [each.text for each in both]
            late = await front.ask(collection, name, text, gateway=gateways[0])
            assert late.status_code == 409
        (accepted,) = (each for each in both if each.status_code == 202)
        refused = [each for each in both if each.status_code == 409]
        assert all(
            each.json()["existing_id"] == accepted.json()["id"] for each in refused
        )
        return accepted.json()["id"], text

    done: list[tuple[str, str]] = []
    for start in range(0, PAIRS, PAIRS_AT_ONCE):
        some = range(start, start + PAIRS_AT_ONCE)
        done += await asyncio.gather(*map(pair, some))
    return done


@pytest.mark.row("33", level=2, injected="the same file twice at once, 100 times")
async def test_row_33_pairs_at_two_gateways(
    harness: Harness, front: Front, row: Row
) -> None:
    gateways = (front.gateway, await front.another_gateway())
    done = await pairs(front, harness.collection, gateways)
    assert len({id_ for id_, _ in done}) == PAIRS
    for id_, text in done:
        harness.promised(id_, text)
    await front.conclude(harness, row, note="two gateways, PostgreSQL")
    documents = [
        each["id"]
        for each in await front.rows(DOCUMENTS)
        if each["collection"] == harness.collection
    ]
    assert sorted(documents) == sorted(id_ for id_, _ in done)
    await front.no_orphans()


@pytest.mark.row("33", level=2, injected="the same file twice at once, 100 times")
async def test_row_33_pairs_on_sqlite(harness: Harness, front: Front, row: Row) -> None:
    gateway = await front.another_gateway(
        DATABASE_URL=f"sqlite:///{harness.stack.directory}/{harness.collection}.db",
        HEADRACE_AUTH_MODE="none",
        HEADRACE_SWEEP_EVERY_S="600",
    )
    done = await pairs(front, harness.collection, [gateway])
    assert len({id_ for id_, _ in done}) == PAIRS
    for id_, text in done:
        harness.promised(id_, text)

    async def all_sent() -> bool:
        listed = await front.listed(harness.collection, gateway=gateway)
        return {each["state"] for each in listed.values()} == {"queued"}

    await eventually(all_sent)
    assert len(await front.listed(harness.collection, gateway=gateway)) == PAIRS
    await harness.conclude(row, note="one gateway, SQLite")


@pytest.mark.row("48", level=2, injected="500 uploads at once")
async def test_row_48_five_hundred_at_once(
    harness: Harness, front: Front, row: Row
) -> None:
    async def upload(number: int) -> httpx.Response:
        name = f"{number}"
        return await front.upload(harness.collection, name, text_of(name))

    began = time.monotonic()
    answers = await asyncio.gather(*map(upload, range(MANY)))
    took = time.monotonic() - began
    found = codes(answers)
    assert set(found) <= {202, *LATER}, found
    assert found[202] > 0
    for number, answer in enumerate(answers):
        if answer.status_code == 202:
            harness.promised(answer.json()["id"], text_of(f"{number}"))
        else:
            assert int(answer.headers["retry-after"]) >= 1
    note = f"{dict(sorted(found.items()))}, the last after {took:.1f} s"
    await front.conclude(harness, row, note=note)


# -- row 30: large documents --------------------------------------------------------


@pytest.mark.row("30", level=2, injected="a file of 500 MB (scaled), and one too large")
async def test_row_30_large_uploads(harness: Harness, front: Front, row: Row) -> None:
    size = int(scaled(500_000_000))
    gateway = await front.another_gateway(
        HEADRACE_MAX_UPLOAD_BYTES=str(size), HEADRACE_MAX_JSON_BYTES="100000"
    )
    text = text_of("sack", words=300)
    before = len(front.files)

    answer = await front.ask(
        harness.collection, "sack.txt", text.encode().ljust(size), gateway=gateway
    )
    assert answer.status_code == 202, answer.text
    harness.promised(answer.json()["id"], text)
    grown = gateway.memory
    again = await front.ask(
        harness.collection, "sacks.txt", text.encode().ljust(size), gateway=gateway
    )
    assert again.status_code == 202, again.text
    harness.promised(again.json()["id"], text)
    grown = gateway.memory - grown

    # One byte more; told of at once, or found out while it comes.
    large = b"x" * (size + 2 * MIB)
    announced = await front.upload(harness.collection, "l", large, gateway=gateway)
    assert announced.status_code == 413, announced.text
    form = (
        b'--b\r\nContent-Disposition: form-data; name="collection"\r\n\r\nc\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    )

    async def without_length() -> AsyncIterator[bytes]:
        yield form
        for start in range(0, len(large), MIB):
            yield large[start : start + MIB]

    found_out = await front.call(
        "POST",
        "/v1/documents",
        gateway=gateway,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        content=without_length(),
    )
    assert found_out.status_code == 413, found_out.text
    json_text = {"collection": "c", "name": "n", "text": "x" * 200_000}
    inline = await front.call("POST", "/v1/documents", gateway=gateway, json=json_text)
    assert inline.status_code == 413, inline.text
    assert inline.headers["content-type"] == "application/problem+json"
    assert len(front.files) == before + 2
    # Not what is stored makes it larger.
    assert grown < size / 2
    await front.conclude(
        harness, row, note=f"{size // MIB} MiB stored, the gateway grew {grown // MIB}"
    )
