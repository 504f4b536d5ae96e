"""Who is in a group, from what the broker answers."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.errors import GroupLoadInProgressError
from aiokafka.protocol.admin import DescribeGroupsResponse_v3

from headrace.lag import GroupOffsets
from headrace.settings import Settings

LOADING = GroupLoadInProgressError.errno


class Broker:
    """Answers with a group of which it says no more than this."""

    def __init__(self, error_code: int, members: list[tuple[Any, ...]]) -> None:
        group = (error_code, "headrace.chunker", "", "consumer", "range", members, 0)
        self._answer = DescribeGroupsResponse_v3(0, [group])

    async def describe_consumer_groups(
        self, _groups: list[str]
    ) -> list[DescribeGroupsResponse_v3]:
        return [self._answer]


def asking(
    monkeypatch: pytest.MonkeyPatch, error_code: int, *members: tuple[Any, ...]
) -> GroupOffsets:
    offsets = GroupOffsets(Settings())
    monkeypatch.setattr(offsets, "_admin", Broker(error_code, list(members)))
    monkeypatch.setattr(offsets, "_consumer", object())
    return offsets


async def test_members_are_told_while_the_group_is_being_balanced_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offsets = asking(monkeypatch, 0, ("id", "a@1", "/10.0.0.1", b"", b""))
    (member,) = await offsets.members("headrace.chunker")
    assert (member.client_id, member.host, member.partitions) == ("a@1", "10.0.0.1", 0)


async def test_a_group_that_is_not_loaded_yet_is_not_taken_for_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(GroupLoadInProgressError):
        await asking(monkeypatch, LOADING).members("headrace.chunker")
