"""What is in the vector store, by its state records."""

from __future__ import annotations

from headrace.qdrant import QdrantStore
from headrace.settings import Settings


async def visible_points(settings: Settings, collection: str) -> int:
    """Points that a search of the collection may show."""
    store = QdrantStore.from_settings(settings)
    try:
        if collection not in await store.collections():
            return 0
        return sum(
            [
                record.visible.count - record.visible.failed
                async for record in store.scroll_states(collection)
                if record.live_set is not None
            ]
        )
    finally:
        await store.close()
