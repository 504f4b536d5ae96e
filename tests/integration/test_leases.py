"""A lease has one holder, and who lost it can write nothing under it."""

from __future__ import annotations

import asyncio

import pytest

from headrace.database.engine import Database
from headrace.database.leases import Lease, LeaseLost
from tests.support.eventually import eventually


def lease(database: Database, holder: str, for_s: float = 60.0) -> Lease:
    return Lease(database, name="n", holder=holder, for_s=for_s)


async def fenced(database: Database, one: Lease) -> None:
    async with database.writing() as connection:
        await one.fence(connection)


async def test_of_many_one_gets_it(database: Database) -> None:
    many = [lease(database, f"h{number}") for number in range(8)]
    taken = await asyncio.gather(*(each.hold() for each in many))
    assert sorted(taken) == [False] * 7 + [True]
    owner = many[taken.index(True)]
    assert await owner.hold()
    assert await owner.holder() == f"h{taken.index(True)}"
    await fenced(database, owner)
    for each in many:
        if each is not owner:
            with pytest.raises(LeaseLost):
                await fenced(database, each)
    await owner.give_back()
    with pytest.raises(LeaseLost):
        await fenced(database, owner)
    assert await lease(database, "next").hold()


async def test_one_that_ran_out_is_anothers(database: Database) -> None:
    sleepy, awake = lease(database, "sleepy", for_s=0.05), lease(database, "awake")
    assert await sleepy.hold()
    await eventually(awake.hold)
    with pytest.raises(LeaseLost):
        await fenced(database, sleepy)
    assert not await sleepy.hold()
    await sleepy.give_back()
    await fenced(database, awake)


async def test_a_process_of_the_same_name_is_another(database: Database) -> None:
    before, after = lease(database, "same"), lease(database, "same")
    assert await before.hold()
    assert not await after.hold()
    with pytest.raises(LeaseLost):
        await fenced(database, after)
