"""What --all deletes, and for what it waits before it looks."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import GroupLoadInProgressError
from headrace_cli import emptying
from headrace_cli.emptying import passed, undeleted
from headrace_cli.failures import CommandFailed
from headrace_cli.sending import Deletion

from headrace.identity import Arrival, DocumentKey
from headrace.messages import DeadLetter, Stage, StatusError
from headrace.open_letters import OpenLetter
from headrace.settings import Settings
from headrace.state import Accepted
from headrace.store import CollectionSpec, WriteAccepted
from tests.support.fake_store import FakeStore

DOCUMENTS = TopicPartition("headrace.documents.v1", 0)
BULK = TopicPartition("headrace.documents.bulk.v1", 0)


def key(name: str, *, tenant: str = "default", collection: str = "mill") -> DocumentKey:
    return DocumentKey(tenant, collection, name)


async def store_of(*keys: DocumentKey) -> FakeStore:
    """Documents that were accepted and are not visible yet."""
    store = FakeStore()
    for each in keys:
        await store.ensure_collection(each.collection, CollectionSpec("m", "1", 1))
        await store.apply(each.collection, [WriteAccepted(each, accepted(1), None)])
    return store


def accepted(revision: int) -> Accepted:
    content = b"" if revision == 2 else b"h" * 32
    return Accepted(Arrival(revision, "t", 0, revision), None, content, revision)


def letter(about: DocumentKey | None) -> OpenLetter:
    failed = DeadLetter(
        stage=Stage.LOADER,
        error=StatusError("not_found", "it is gone"),
        attempts=1,
        origin_topic="t",
        origin_partition=0,
        origin_offset=0,
        origin_timestamp_ms=0,
        key=about,
    )
    return OpenLetter("id", b"id", "dlq", 0, 0, failed)


async def test_every_document_that_is_not_deleted_goes() -> None:
    store = await store_of(
        key("one"),
        key("gone"),
        key("again"),
        key("theirs", tenant="other"),
        key("elsewhere", collection="weir"),
    )
    for name in ("gone", "again"):
        delete = WriteAccepted(key(name), accepted(2), accepted(1), deletes=True)
        await store.apply("mill", [delete])
    await store.apply("mill", [WriteAccepted(key("again"), accepted(3), accepted(2))])
    letters = [
        letter(key("never-loaded")),
        letter(key("gone")),
        letter(key("weir", collection="weir")),
        letter(None),
    ]

    found = await undeleted(store, letters, collection="mill", tenant=None)

    names = ["again", "never-loaded", "one", "theirs"]
    assert sorted(each.document_id for each in found) == names
    ours = await undeleted(store, letters, collection="mill", tenant="default")
    assert set(found) - set(ours) == {key("theirs", tenant="other")}


async def test_a_collection_that_does_not_exist_has_but_its_letters() -> None:
    letters = [letter(key("a"))]
    found = await undeleted(FakeStore(), letters, collection="mill", tenant=None)
    assert found == [key("a")]


class Group:
    """Answers in turn; the last one holds."""

    def __init__(
        self, *answers: Mapping[TopicPartition, tuple[int, int]] | None
    ) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def read(
        self, group: str, topics: list[str]
    ) -> Mapping[TopicPartition, tuple[int, int]]:
        assert group.endswith("loader")
        assert topics == [DOCUMENTS.topic, BULK.topic]
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if answer is None:
            raise GroupLoadInProgressError
        return answer


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emptying, "_POLL_S", 0)


async def test_both_lanes_are_waited_for_as_they_were_when_it_began() -> None:
    group = Group(
        {DOCUMENTS: (3, 5), BULK: (0, 2)},
        None,
        {DOCUMENTS: (5, 9), BULK: (1, 2)},
        {DOCUMENTS: (6, 9), BULK: (2, 2)},  # what came later is not waited for
        {DOCUMENTS: (9, 9), BULK: (2, 2)},
    )
    notes: list[str] = []

    await passed(group, Settings(), note=notes.append)

    assert group.asked == 5
    assert notes == ["waiting until the loader has taken in 4 events"]


async def test_an_event_that_was_put_on_its_topic_again_is_waited_for_too() -> None:
    group = Group(
        {DOCUMENTS: (0, 1), BULK: (0, 0)},
        {DOCUMENTS: (1, 2), BULK: (0, 0)},
        {DOCUMENTS: (1, 2), BULK: (0, 0)},  # the round for what was put there again
        {DOCUMENTS: (2, 2), BULK: (0, 0)},
    )
    notes: list[str] = []

    await passed(group, Settings(), note=notes.append)

    assert group.asked == 4
    assert len(notes) == 2


@pytest.mark.parametrize(("documents", "everything"), [((), False), (("a",), True)])
def test_what_to_delete_must_be_clear(
    documents: tuple[str, ...], *, everything: bool
) -> None:
    with pytest.raises(CommandFailed) as raised:
        Deletion(
            documents=documents, collection="c", tenant=None, everything=everything
        )
    assert raised.value.exit_code == 2
