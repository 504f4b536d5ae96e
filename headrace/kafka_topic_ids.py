"""Kafka's ids of topics. A topic that is deleted and made again has another id.

aiokafka's own metadata requests end at version 5; ids came with version 10. This is
version 12 (a "flexible" one), in aiokafka's building blocks.
"""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO
from typing import Any
from uuid import UUID

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)


class _Uuid(AbstractType):  # type: ignore[misc]
    """16 bytes."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


_TAGS = ("tags", TaggedFields)
_BROKER = (
    ("node_id", Int32),
    ("host", CompactString("utf-8")),
    ("port", Int32),
    ("rack", CompactString("utf-8")),
    _TAGS,
)
_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    _TAGS,
)
_TOPIC = (
    ("error_code", Int16),
    ("name", CompactString("utf-8")),
    ("topic_id", _Uuid),
    ("is_internal", Boolean),
    ("partitions", CompactArray(*_PARTITION)),
    ("authorized_operations", Int32),
    _TAGS,
)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        ("topics", CompactArray(*_TOPIC)),
        _TAGS,
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), _TAGS),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        _TAGS,
    )


class _MetadataRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(
        self, request_struct_class: type[_MetadataRequestStruct]
    ) -> _MetadataRequestStruct:
        no_tags: dict[int, bytes] = {}
        topics = [(UUID(int=0), topic, no_tags) for topic in self._topics]
        return request_struct_class(topics, False, False, {})


async def topic_ids(client: AIOKafkaClient, topics: Collection[str]) -> dict[str, str]:
    """The id of each topic that exists; the name where the broker knows no ids.

    Never creates a topic.

    Raises:
        KafkaError: no broker answers.
    """
    try:
        # A broker answers the requests of a connection one after another: where the
        # client fetches, a fetch may wait for records first, and a commit with it.
        response: Any = await client.send(
            client.get_random_node(),
            _MetadataRequest(topics),
            group=ConnectionGroup.COORDINATION,
        )
    except (IncompatibleBrokerVersion, NotImplementedError):
        return {topic: topic for topic in topics}
    ids: dict[str, str] = {}
    for topic in response.topics:
        error_code, name, topic_id = topic[:3]
        if error_code == 0:
            ids[name] = str(topic_id)
    return ids
