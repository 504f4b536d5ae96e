"""Questions, and who answers them: embedded as the collection's documents were."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from headrace_embedder.providers import EmbeddingProvider, Rejected, Unclear
from headrace_embedder.settings import ProviderSettings
from pydantic import BaseModel, ConfigDict, Field

from headrace.clock import Clock
from headrace.errors import SharedFailure
from headrace.search import Hit, search
from headrace.store import CollectionSpec, Store
from headrace_gateway.drafts import CollectionName, Word
from headrace_gateway.problems import invalid

_DEADLINE_S = 20.0
_KEPT_S = 10.0
"""A collection that was dropped and made for another model is known as such then."""
_MODELS = 4
"""Kept open at once; a local one holds memory."""

Build = Callable[[ProviderSettings], Awaitable[EmbeddingProvider]]
AttributeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


class Filters(BaseModel):
    """What the documents of all hits must have; each as it was sent."""

    model_config = ConfigDict(extra="forbid")

    document: Word | None = Field(None, description="A document's id.")
    name: Word | None = None
    media_type: Word | None = None
    source_uri: Word | None = None
    user_id: Word | None = None
    session_id: Word | None = None
    import_job: Word | None = None
    attributes: dict[AttributeName, Word] = Field(default_factory=dict, max_length=16)

    def conditions(self) -> dict[str, str | int]:
        """As fields of a chunk's payload."""
        said = self.model_dump(exclude={"attributes"}, exclude_none=True)
        fields = {
            "document_id" if name == "document" else name: value
            for name, value in said.items()
        }
        named = {f"attributes.{name}": at for name, at in self.attributes.items()}
        return {**fields, **named}


class Question(BaseModel):
    """What to look for."""

    model_config = ConfigDict(extra="forbid")

    collection: CollectionName
    query: str = Field(min_length=1, max_length=8192)
    limit: int = Field(5, ge=1, le=100)
    filters: Filters = Field(default_factory=Filters)


class Searcher:
    """Embeds questions and searches; one per process.

    Args:
        store: where the chunks are.
        settings: of the provider; the model is each collection's own.
        build: makes a provider.
        clock: tells how long a collection's record is believed.
    """

    def __init__(
        self, store: Store, *, settings: ProviderSettings, build: Build, clock: Clock
    ) -> None:
        self._store = store
        self._settings = settings
        self._build = build
        self._clock = clock
        self._specs: Mapping[str, CollectionSpec] = {}
        self._read_at: float | None = None
        self._providers: dict[CollectionSpec, EmbeddingProvider] = {}
        self._building = asyncio.Lock()

    async def search(self, tenant: str, question: Question) -> list[Hit]:
        """The nearest chunks of the tenant's documents; none where none are.

        Raises:
            SharedFailure: store or provider are away.
            Problem: the provider refuses the question.
        """
        spec = await self._spec(question.collection)
        if spec is None:
            return []
        vector = await self._embed(spec, question.query)
        return await search(
            self._store,
            question.collection,
            vector,
            limit=question.limit,
            # Last, so that no filter can be put in its place.
            conditions={**question.filters.conditions(), "tenant": tenant},
        )

    async def close(self) -> None:
        """Close the providers."""
        for provider in self._providers.values():
            await provider.close()

    async def _spec(self, collection: str) -> CollectionSpec | None:
        now = self._clock.monotonic()
        known = self._read_at is not None and now - self._read_at < _KEPT_S
        if not known or collection not in self._specs:
            self._specs = await self._store.collections()
            self._read_at = now
        return self._specs.get(collection)

    async def _embed(self, spec: CollectionSpec, text: str) -> bytes:
        provider = await self._provider(spec)
        try:
            async with asyncio.timeout(_DEADLINE_S):
                vectors = await provider.embed(
                    [spec.query_prefix + text], deadline=_DEADLINE_S
                )
        except (TimeoutError, Unclear) as error:
            raise SharedFailure(
                "provider_unavailable", "the model did not embed the question"
            ) from error
        except Rejected as error:
            raise invalid(
                f"the model refuses the question: {error.message}", code=error.reason
            ) from error
        return vectors[0]

    async def _provider(self, spec: CollectionSpec) -> EmbeddingProvider:
        async with self._building:
            if spec not in self._providers:
                if len(self._providers) >= _MODELS:
                    oldest = next(iter(self._providers))
                    await self._providers.pop(oldest).close()
                self._providers[spec] = await self._build(
                    self._settings.model_copy(
                        update={
                            "embedding_model": spec.model,
                            "embedding_model_revision": spec.model_revision,
                            "embedding_dimensions": spec.dimensions,
                        }
                    )
                )
            return self._providers[spec]
