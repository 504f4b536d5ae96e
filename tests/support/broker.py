"""The real broker that tests share, and topics that they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headrace_local.broker import Broker


@contextmanager
def running_broker(data_dir: Path) -> Iterator[Broker]:
    """A broker over ``data_dir`` until the block ends.

    Not tied to an event loop, so that tests with a loop each can share it.
    """
    broker = Broker(data_dir=data_dir)
    asyncio.run(broker.start())
    try:
        yield broker
    finally:
        asyncio.run(broker.stop())
