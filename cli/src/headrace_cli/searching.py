"""Embeds a question as the collection's documents were embedded, and searches."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from headrace_embedder.factory import build_provider
from headrace_embedder.providers import Rejected, Unclear
from headrace_embedder.settings import ProviderSettings

from headrace.process import load_settings
from headrace.qdrant import QdrantStore
from headrace.search import Hit, search
from headrace.settings import Settings
from headrace.store import CollectionSpec, Store
from headrace_cli.failures import EXIT_OK, EXIT_UNREACHABLE, CommandFailed, usage
from headrace_cli.opening import Needs, opened
from headrace_cli.output import Output

_DEADLINE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Question:
    """What to look for, and where."""

    text: str
    collection: str
    tenant: str
    limit: int


async def search_once(question: Question, *, data_dir: Path, output: Output) -> int:
    """Search and print; the exit code."""
    if not question.text.strip():
        raise usage("the question is empty", "say what to look for")
    async with opened(data_dir, Needs(store=True), output) as pipeline:
        store = QdrantStore.from_settings(pipeline.settings)
        try:
            spec = await collection_spec(store, question.collection)
            vector = await embed(question.text, spec, pipeline.settings)
            hits = await search(
                store,
                question.collection,
                vector,
                limit=question.limit,
                conditions={"tenant": question.tenant},
            )
        finally:
            await store.close()
    _print(hits, output)
    output.answer(
        {
            "collection": question.collection,
            "query": question.text,
            "hits": [as_dict(hit) for hit in hits],
        }
    )
    return EXIT_OK


async def collection_spec(store: Store, collection: str) -> CollectionSpec:
    """The model that a collection was made with.

    Raises:
        CommandFailed: there is no such collection; the message names those there are.
    """
    specs = await store.collections()
    if collection not in specs:
        known = ", ".join(sorted(specs)) or "none yet"
        raise CommandFailed(
            "collection_missing",
            f"there is no collection {collection!r}; there are: {known}",
            advice="index something first, or name another with --collection",
        )
    return specs[collection]


async def embed(text: str, spec: CollectionSpec, settings: Settings) -> bytes:
    """The question's vector, by the model of the collection."""
    own = settings.model_dump(include={"embedding_provider"}, mode="python")
    own |= {
        "embedding_model": spec.model,
        "embedding_model_revision": spec.model_revision,
        "embedding_dimensions": spec.dimensions,
    }
    load_settings(ProviderSettings)
    provider = await build_provider(ProviderSettings(**own))
    try:
        vectors = await provider.embed([spec.query_prefix + text], deadline=_DEADLINE_S)
    except (Rejected, Unclear) as error:
        raise CommandFailed(
            error.reason,
            f"the model {spec.model} could not embed the question: {error.message}",
            advice="try again, or with other words",
            exit_code=EXIT_UNREACHABLE if isinstance(error, Unclear) else 1,
        ) from error
    finally:
        await provider.close()
    return vectors[0]


def as_dict(hit: Hit) -> dict[str, object]:
    """A hit as it is printed for programs."""
    values = asdict(hit)
    key = values.pop("key")
    return {
        "score": round(hit.score, 6),
        "document": key["document_id"],
        "tenant": key["tenant"],
        **{name: value for name, value in values.items() if name != "score"},
    }


def _print(hits: list[Hit], output: Output) -> None:
    if not hits:
        output.text("nothing was found")
    for number, hit in enumerate(hits, start=1):
        place = " > ".join(hit.headings)
        if hit.page:
            place = f"page {hit.page}" + (f", {place}" if place else "")
        if hit.section:
            place = f"{hit.section}" + (f", {place}" if place else "")
        where = f"{hit.key.document_id}" + (f"  ({place})" if place else "")
        output.text(f"{number}. {hit.score:.3f}  {where}")
        for line in hit.text.strip().splitlines():
            output.text(f"   {line}")
        output.text()
