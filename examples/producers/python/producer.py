"""Puts one file on the documents topic: Protobuf, with the generated classes.

python producer.py BOOTSTRAP_SERVERS COLLECTION DOCUMENT_ID FILE [TOPIC]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from urllib.parse import quote

from aiokafka import AIOKafkaProducer

from headrace.v1.document_event_pb2 import DocumentEvent
from headrace.v1.document_pb2 import OPERATION_UPSERT, DocumentKey, Metadata

TENANT = "default"
CONTENT_TYPE = b"application/protobuf; messageType=headrace.v1.DocumentEvent"


def record_key(*parts: str) -> bytes:
    """Tenant, collection and document id, percent-encoded and joined by slashes."""
    return "/".join(quote(part, safe="") for part in parts).encode()


async def produce(
    bootstrap_servers: str, collection: str, document_id: str, path: Path, topic: str
) -> None:
    """Send one upsert; returns once the brokers have it."""
    event = DocumentEvent(
        key=DocumentKey(tenant=TENANT, collection=collection, document_id=document_id),
        operation=OPERATION_UPSERT,
        inline=await asyncio.to_thread(path.read_bytes),
        metadata=Metadata(name=path.name),
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True
    )
    await producer.start()
    try:
        sent = await producer.send_and_wait(
            topic,
            key=record_key(TENANT, collection, document_id),
            value=event.SerializeToString(),
            headers=[("content-type", CONTENT_TYPE)],
        )
    finally:
        await producer.stop()
    print(f"{sent.topic}-{sent.partition}@{sent.offset}")


def main(arguments: list[str]) -> None:
    """Read the arguments and send."""
    if len(arguments) not in (4, 5):
        sys.exit(__doc__)
    bootstrap_servers, collection, document_id, file, *topic = arguments
    asyncio.run(
        produce(
            bootstrap_servers,
            collection,
            document_id,
            Path(file),
            topic[0] if topic else "headrace.documents.v1",
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
