"""What a process checks before it touches a topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from headrace.kafka import client_options
from headrace.kafka_topic_ids import topic_ids
from headrace.settings import Settings

_log = structlog.get_logger(__name__)

_EVERY_S = 2.0


async def wait_for_topics(
    settings: Settings, topics: Collection[str], *, say: Callable[[str], None]
) -> None:
    """Return once a broker answers and all topics exist.

    Asking for a missing topic in any other way has the broker make it, with settings
    that are not ours, wherever it is allowed to.

    Args:
        settings: where the brokers are.
        topics: names.
        say: told each time what is waited for.
    """
    told = ""
    while problem := await _problem(settings, topics):
        say(problem)
        if problem != told:
            _log.warning("waiting for Kafka", problem=problem)
            told = problem
        await asyncio.sleep(_EVERY_S)


async def _problem(settings: Settings, topics: Collection[str]) -> str:
    client = AIOKafkaClient(**client_options(settings))
    try:
        await client.bootstrap()
        found = await topic_ids(client, topics)
    except KafkaError as error:
        return f"no broker answers at {settings.kafka_bootstrap_servers}: {error}"
    finally:
        await client.close()
    missing = sorted(set(topics) - set(found))
    if missing:
        return f"topics are missing: {', '.join(missing)}; run `headrace topics apply`"
    return ""
