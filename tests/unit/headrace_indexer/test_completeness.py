"""Knowledge of what is stored: every order, repetition, restart and second owner."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace_indexer.completeness import Completeness, StoredChunks
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.identity import DocumentKey
from headrace.messages import Manifest
from headrace.state import ChunkSet

KEY = DocumentKey("default", "books", "moby")


def chunk_set(revision: int = 1, *, key: DocumentKey = KEY) -> ChunkSet:
    return ChunkSet(key, revision, "p-c-m", b"h")


def manifest(count: int) -> Manifest:
    return Manifest(count, b"m" * 32)


@dataclass(frozen=True)
class Slice:
    numbers: tuple[int, ...]
    holes: bool
    manifest: Manifest | None


@dataclass
class Disk:
    """What the store holds of one set."""

    numbers: set[int] = field(default_factory=set)
    manifest: Manifest | None = None

    def store(self, part: Slice) -> None:
        self.numbers.update(part.numbers)
        self.manifest = part.manifest or self.manifest

    @property
    def complete(self) -> bool:
        known = self.manifest
        return known is not None and len(self.numbers) == known.chunk_count


def handle(memory: StoredChunks, disk: Disk, part: Slice) -> bool:
    """Store a slice and find whether its set is complete, as the indexer does."""
    disk.store(part)
    return ask(memory, disk, part)


def ask(memory: StoredChunks, disk: Disk, part: Slice) -> bool:
    answer = memory.stored(
        chunk_set(), numbers=part.numbers, holes=part.holes, manifest=part.manifest
    )
    if answer is Completeness.COMPLETE:
        assert disk.complete
        return True
    if answer is Completeness.INCOMPLETE:
        return False
    if disk.manifest is None:
        memory.no_manifest(chunk_set())
    return disk.complete


@st.composite
def documents(draw: st.DrawFn) -> list[Slice]:
    """The slices of a document; the last has the manifest."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    slices: list[Slice] = []
    for position, size in enumerate(sizes):
        start = sum(sizes[:position])
        last = position == len(sizes) - 1
        slices.append(
            Slice(
                tuple(range(start, start + size)),
                holes=draw(st.integers(0, 5)) == 0,
                manifest=manifest(sum(sizes)) if last else None,
            )
        )
    return slices


class TestOneOwner:
    @given(documents(), st.data())
    @settings(max_examples=300)
    def test_whoever_comes_last_finds_it_complete_in_every_order_and_repetition(
        self, slices: list[Slice], data: st.DataObject
    ):
        again = data.draw(st.lists(st.sampled_from(slices), max_size=4))
        order = data.draw(st.permutations(slices + again))
        memory, disk = StoredChunks(), Disk()
        for part in order:
            assert handle(memory, disk, part) == disk.complete

    @given(documents(), st.data())
    @settings(max_examples=300)
    def test_a_restart_at_any_place_changes_no_answer(
        self, slices: list[Slice], data: st.DataObject
    ):
        order = data.draw(st.permutations(slices))
        memory, disk = StoredChunks(), Disk()
        for part in order:
            match data.draw(st.sampled_from(["go on", "restart", "crash"])):
                case "restart":
                    memory.forget_all()
                case "crash":
                    # Stored, perhaps, and never heard of: delivered again.
                    if data.draw(st.booleans()):
                        disk.store(part)
                    memory = StoredChunks()
            assert handle(memory, disk, part) == disk.complete

    @given(documents(), st.data())
    def test_a_small_memory_only_asks_more_often(
        self, slices: list[Slice], data: st.DataObject
    ):
        memory, disk = StoredChunks(max_sets=1, max_beyond=2), Disk()
        for part in data.draw(st.permutations(slices)):
            if data.draw(st.booleans(), label="another document comes between"):
                memory.stored(chunk_set(2), numbers=[0], holes=False, manifest=None)
            assert handle(memory, disk, part) == disk.complete

    def test_in_order_without_a_restart_only_the_first_slice_asks(self):
        memory = StoredChunks()
        first, second, third = range(64), range(64, 128), [128]

        answers = [
            memory.stored(chunk_set(), numbers=first, holes=False, manifest=None)
        ]
        memory.no_manifest(chunk_set())
        answers += [
            memory.stored(chunk_set(), numbers=second, holes=False, manifest=None),
            memory.stored(
                chunk_set(), numbers=third, holes=False, manifest=manifest(129)
            ),
        ]

        assert answers == [
            Completeness.ASK,
            Completeness.INCOMPLETE,
            Completeness.COMPLETE,
        ]

    def test_holes_are_always_counted_in_the_store(self):
        memory = StoredChunks()

        answer = memory.stored(
            chunk_set(), numbers=[0, 1], holes=True, manifest=manifest(2)
        )

        assert answer is Completeness.ASK


class TestTwoOwners:
    @given(documents(), st.data())
    @settings(max_examples=300)
    def test_whoever_comes_last_finds_it_complete_though_a_former_owner_still_writes(
        self, slices: list[Slice], data: st.DataObject
    ):
        """The former owner committed a prefix; what it had begun, it may still store.

        All that it did not commit is delivered to the new owner, in order.
        """
        committed = data.draw(st.integers(0, len(slices)), label="committed")
        old, new, disk = StoredChunks(), StoredChunks(), Disk()
        found = [handle(old, disk, part) for part in slices[:committed]]
        late = slices[committed:]
        ours, theirs = list(late), list(late)
        while ours or theirs:
            turn = data.draw(st.booleans(), label="new owner's turn")
            if ours and (turn or not theirs):
                found.append(handle(new, disk, ours.pop(0)))
            elif data.draw(st.booleans(), label="the former owner dies"):
                theirs.clear()
            else:
                found.append(handle(old, disk, theirs.pop(0)))

        assert disk.complete
        assert any(found)

    @given(documents(), st.data())
    def test_two_that_store_at_once_never_both_miss_that_it_is_complete(
        self, slices: list[Slice], data: st.DataObject
    ):
        """Each asks after its own storing: the one that asks last sees both."""
        *others, one, other = (slices * 2)[: max(2, len(slices))]
        disk = Disk()
        for part in others:
            disk.store(part)
        memories = {0: StoredChunks(), 1: StoredChunks()}
        parts = {0: one, 1: other}
        steps = data.draw(st.permutations([0, 0, 1, 1]))
        stored: set[int] = set()
        found = []
        for who in steps:
            if who not in stored:
                disk.store(parts[who])
                stored.add(who)
            else:
                found.append(ask(memories[who], disk, parts[who]))

        assert any(found) == disk.complete


class TestBounds:
    def test_the_set_untouched_for_longest_is_forgotten_first(self):
        memory = StoredChunks(max_sets=2)
        for revision in (1, 2, 1, 3):
            memory.stored(chunk_set(revision), numbers=[0], holes=False, manifest=None)

        assert len(memory) == 2
        assert memory.knows(chunk_set(1))
        assert not memory.knows(chunk_set(2))

    def test_scattered_numbers_are_bounded_over_all_sets(self):
        memory = StoredChunks(max_beyond=10)
        for revision in range(1, 6):
            memory.stored(
                chunk_set(revision), numbers=range(5, 9), holes=False, manifest=None
            )

        assert len(memory) == 2

    def test_a_set_too_scattered_to_remember_is_asked_about(self):
        memory = StoredChunks(max_beyond=10)

        answer = memory.stored(
            chunk_set(), numbers=range(1, 64), holes=False, manifest=manifest(65)
        )

        assert answer is Completeness.ASK
        assert len(memory) == 0

    def test_what_is_settled_is_forgotten_and_newer_work_is_not(self):
        memory = StoredChunks()
        for revision in (1, 2, 3):
            memory.stored(chunk_set(revision), numbers=[1], holes=False, manifest=None)
        memory.forget_up_to(KEY, 2)

        assert [memory.knows(chunk_set(n)) for n in (1, 2, 3)] == [False, False, True]
