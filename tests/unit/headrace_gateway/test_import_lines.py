"""Bodies of imports as strangers send them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from headrace_gateway.import_lines import items_of
from headrace_gateway.jobs import Item
from headrace_gateway.problems import Problem


async def body(piece: bytes, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield piece


async def test_an_import_has_only_so_many_items() -> None:
    """Else three bytes a line make a row each: a gigabyte of them for a few MiB."""
    read: list[Item] = []

    async def read_all() -> None:
        lines = body(b"{}\n" * 10, 100)
        async for items in items_of(lines, collection="books", longest=100, most=500):
            read.extend(items)

    with pytest.raises(Problem) as refused:
        await read_all()

    assert refused.value.status == 413
    assert len(read) <= 500
