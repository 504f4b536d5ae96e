"""Turns what a command line names into events. No I/O but reading small files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.identity import DEFAULT_TENANT, DocumentKey, InvalidKeyError
from headrace.messages import DocumentEvent, Lane, Metadata, ObjectReference, Operation
from headrace_cli.failures import usage
from headrace_cli.sources import Source

INLINE_BYTES = 512 * 1024
"""The contract's bound for bytes inside an event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all events of one command share."""

    id: str
    collection: str
    tenant: str = DEFAULT_TENANT
    lane: Lane = Lane.BULK

    def key(self, document_id: str) -> DocumentKey:
        """The key of a document.

        Raises:
            CommandFailed: tenant, collection or id break the contract's bounds.
        """
        key = DocumentKey(self.tenant, self.collection, document_id)
        try:
            key.validate()
        except InvalidKeyError as error:
            raise usage(str(error)) from error
        return key

    def delete(self, document_id: str) -> DocumentEvent:
        """An event that deletes a document."""
        return DocumentEvent(
            key=self.key(document_id),
            operation=Operation.DELETE,
            metadata=Metadata(import_job=self.id),
            lane=self.lane,
        )

    def by_uri(self, source: Source) -> DocumentEvent:
        """An event whose bytes the loader fetches itself."""
        return self._upsert(source, uri=source.uri)

    def inline(self, source: Source, data: bytes) -> DocumentEvent:
        """An event that carries the document."""
        return self._upsert(source, inline=data)

    def by_reference(self, source: Source, reference: ObjectReference) -> DocumentEvent:
        """An event whose bytes are in the object store."""
        return self._upsert(source, reference=reference)

    def _upsert(
        self,
        source: Source,
        *,
        uri: str | None = None,
        inline: bytes | None = None,
        reference: ObjectReference | None = None,
    ) -> DocumentEvent:
        return DocumentEvent(
            key=self.key(source.document_id),
            uri=uri,
            inline=inline,
            object=reference,
            metadata=Metadata(
                name=source.name, source_uri=source.uri, import_job=self.id
            ),
            lane=self.lane,
        )


def readable_by_loader(path: Path, roots: Sequence[Path]) -> bool:
    """Whether the loader of this machine may read the file by its path."""
    return any(path == root or path.is_relative_to(root) for root in roots)
