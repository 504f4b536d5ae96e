"""Who is let in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from headrace_gateway.admission import RateLimits
from hypothesis import given
from hypothesis import strategies as st

from headrace.backpressure import Intake, IntakeLimits, Verdict, admit
from headrace.database.documents import DOCUMENTS, OUTBOX
from headrace.errors import SharedFailure
from tests.support.fake_clock import FakeClock
from tests.support.gateway_world import gateway_world

_LIMITS = IntakeLimits(ahead_age_s=300, outbox_age_s=10, accepting=50)


@given(
    ahead=st.floats(0, 10**6),
    outbox=st.one_of(st.floats(0, 10**6), st.just(float("inf"))),
    accepting=st.integers(0, 100),
)
def test_more_of_anything_never_admits_more(
    ahead: float, outbox: float, accepting: int
) -> None:
    now = admit(Intake(ahead, outbox, accepting), _LIMITS)
    worse = admit(Intake(ahead * 2, outbox * 2, accepting + 1), _LIMITS)

    within = ahead <= 300 and outbox <= 10 and accepting < 50
    assert (now.verdict is Verdict.ADMIT) == within
    assert bool(now.reason) != within
    assert within or worse.verdict is Verdict.PAUSE


def test_a_rate_is_each_tenants_own() -> None:
    clock = FakeClock()
    limits = RateLimits(per_s=2, burst=3, clock=clock)

    assert [limits.wait_s("ann") for _ in range(3)] == [0, 0, 0]
    assert limits.wait_s("ann") == pytest.approx(0.5)
    assert limits.wait_s("bob") == 0
    clock.advance(0.5)
    assert limits.wait_s("ann") == 0


async def test_what_waits_too_long_refuses_uploads(tmp_path: Path) -> None:
    async with gateway_world(tmp_path) as world:
        world.waiting.seconds = 301

        answer = await world.upload()

        assert answer.status_code == 503
        assert answer.json()["code"] == "busy_ahead"
        assert int(answer.headers["retry-after"]) >= 1
        health = (await world.client.get("/v1/health")).json()
        assert health == {"accepting": False, "reason": "ahead"}
        assert (await world.client.get("/v1/documents")).status_code == 200


async def test_an_outbox_that_does_not_empty_refuses_uploads(tmp_path: Path) -> None:
    clock = FakeClock()
    async with gateway_world(tmp_path, clock=clock) as world:
        gone = SharedFailure("broker_unavailable", "away")
        assert (await world.upload("a")).status_code == 202
        world.producer.fail_next(gone)
        with pytest.raises(SharedFailure):
            await world.parts.relay.send_some()
        clock.advance(11)
        await world.parts.relay.look()

        assert (await world.upload("b")).status_code == 503

        assert len(await world.rows(OUTBOX)) == 1
        assert await world.parts.relay.send_some() == 1
        await world.parts.relay.look()
        assert (await world.upload("b")).status_code == 202


async def test_five_hundred_at_once_all_get_an_answer(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, accepting=10, tenant_accepting=5) as world:
        answers: list[httpx.Response] = await asyncio.gather(
            *(world.upload(f"{number % 400}.txt") for number in range(500))
        )

        codes = {each.status_code for each in answers}
        assert codes <= {202, 409, 429, 503}
        accepted = [each for each in answers if each.status_code == 202]
        assert 0 < len(accepted) == len(await world.rows(DOCUMENTS))
        for each in answers:
            if each.status_code in {429, 503}:
                assert int(each.headers["retry-after"]) >= 1
        assert world.parts.admission.accepting == 0
        assert (await world.upload("afterwards.txt")).status_code == 202


async def test_a_tenant_with_too_much_under_way_is_told(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, tenant_unfinished=2) as world:
        assert (await world.upload("a")).status_code == 202
        assert (await world.upload("b")).status_code == 202
        answer = await world.upload("c")
        assert answer.status_code == 429
        assert answer.json()["code"] == "busy_tenant_unfinished"


async def test_a_body_that_stops_coming_is_given_up(tmp_path: Path) -> None:
    async with gateway_world(tmp_path, read_s=0.2) as world:

        async def slow() -> AsyncIterator[bytes]:
            yield b"--x\r\n"
            await asyncio.sleep(30)
            yield b"never"

        answer = await world.client.post(
            "/v1/documents",
            content=slow(),
            headers={"content-type": "multipart/form-data; boundary=x"},
        )

        assert answer.status_code == 408
        assert world.parts.admission.accepting == 0
