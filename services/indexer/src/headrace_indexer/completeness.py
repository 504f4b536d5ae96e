"""Which chunks of a set are stored, as far as this process knows. Pure: no I/O.

A set is complete when the store holds all of its chunks. To count there for each slice
would cost a call, so the numbers whose storing was confirmed are remembered. Memory
may forget at any time, and then says ``ASK``: it never calls a set complete that is
not, nor incomplete what another process may have completed.

The argument for ``INCOMPLETE``. A set whose manifest is in nobody's sight (not in a
slice stored here, not in the store when it was asked after the first slice stored here)
lacks its last chunk. Whoever else could store that chunk since is a former owner of the
partition, whose records are delivered again to this process, which forgets everything
when it gets partitions. So a later slice here carries the manifest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto

from headrace.identity import DocumentKey
from headrace.messages import Manifest
from headrace.state import ChunkSet


class Completeness(Enum):
    """Whether all chunks of a set are stored."""

    INCOMPLETE = auto()
    COMPLETE = auto()
    """All of them, with vectors."""
    ASK = auto()
    """Only the store knows."""


@dataclass(slots=True)
class _Known:
    """Of one set: chunks below ``prefix`` and those in ``beyond`` are stored."""

    prefix: int = 0
    beyond: set[int] = field(default_factory=set)
    holes: bool = False
    manifest: Manifest | None = None
    asked: bool = False
    """The store had no manifest when it was asked."""

    def add(self, numbers: Collection[int]) -> int:
        """Add numbers; say by how many ``beyond`` grew."""
        before = len(self.beyond)
        self.beyond.update(number for number in numbers if number >= self.prefix)
        while self.prefix in self.beyond:
            self.beyond.remove(self.prefix)
            self.prefix += 1
        return len(self.beyond) - before


class StoredChunks:
    """What is known to be stored; the sets untouched for longest are forgotten.

    Args:
        max_sets: sets remembered.
        max_beyond: chunk numbers remembered beyond the gapless beginnings of sets, in
            all. Slices come in order, but for replays; then there are none.
    """

    def __init__(self, *, max_sets: int = 10_000, max_beyond: int = 100_000) -> None:
        self._max_sets = max_sets
        self._max_beyond = max_beyond
        self._beyond = 0
        self._known: OrderedDict[ChunkSet, _Known] = OrderedDict()
        self._sets: dict[DocumentKey, set[ChunkSet]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def stored(
        self,
        chunk_set: ChunkSet,
        *,
        numbers: Collection[int],
        holes: bool,
        manifest: Manifest | None,
    ) -> Completeness:
        """Note chunks whose storing is confirmed; say where their set stands.

        Args:
            chunk_set: the set.
            numbers: of the chunks.
            holes: whether some of them are holes. A hole may stand for a vector that
                was stored earlier, so only the store can tell how many there are.
            manifest: where the slice has one.
        """
        known = self._touch(chunk_set)
        self._beyond += known.add(numbers)
        known.holes = known.holes or holes
        known.manifest = manifest or known.manifest
        while len(self._known) > self._max_sets or self._beyond > self._max_beyond:
            self.forget(next(iter(self._known)))
        if chunk_set not in self._known:
            return Completeness.ASK
        if known.manifest is None:
            return Completeness.INCOMPLETE if known.asked else Completeness.ASK
        if known.holes or known.prefix < known.manifest.chunk_count:
            return Completeness.ASK
        return Completeness.COMPLETE

    def no_manifest(self, chunk_set: ChunkSet) -> None:
        """The store, asked after the last ``stored``, had no manifest of this set."""
        if chunk_set in self._known:
            self._known[chunk_set].asked = True

    def knows(self, chunk_set: ChunkSet) -> bool:
        """Whether anything of this set was noted."""
        return chunk_set in self._known

    def manifest(self, chunk_set: ChunkSet) -> Manifest | None:
        """The manifest, where one was noted."""
        known = self._known.get(chunk_set)
        return known.manifest if known else None

    def forget(self, chunk_set: ChunkSet) -> None:
        """Drop what is known of a set."""
        known = self._known.pop(chunk_set, None)
        if known is None:
            return
        self._beyond -= len(known.beyond)
        siblings = self._sets[chunk_set.key]
        siblings.discard(chunk_set)
        if not siblings:
            del self._sets[chunk_set.key]

    def forget_up_to(self, key: DocumentKey, revision: int) -> None:
        """Drop what is known of a document's revisions up to one that is settled."""
        for chunk_set in list(self._sets.get(key, ())):
            if chunk_set.revision <= revision:
                self.forget(chunk_set)

    def forget_all(self) -> None:
        """Drop everything: others may have stored since."""
        self._known.clear()
        self._sets.clear()
        self._beyond = 0

    def _touch(self, chunk_set: ChunkSet) -> _Known:
        known = self._known.get(chunk_set)
        if known is None:
            known = self._known[chunk_set] = _Known()
            self._sets.setdefault(chunk_set.key, set()).add(chunk_set)
        self._known.move_to_end(chunk_set)
        return known
