"""What people have paused: everything, a stage or a collection. Pure: no I/O.

The control topic says it, a record for each; ``control_topic`` reads and writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from headrace.errors import Unreadable
from headrace.identity import DocumentKey, InvalidKeyError
from headrace.messages import Pause, Stage
from headrace.wire import decode_pause

_ALL = "all"
_ADVICE = "Find the program that wrote it; only Headrace writes this topic."


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What may be paused: a stage, a collection of a tenant, or without any, all."""

    stage: Stage | None = None
    tenant: str = ""
    collection: str = ""

    @property
    def record_key(self) -> bytes:
        """Key of its records on the control topic."""
        if self.stage is not None:
            parts = ["stage", self.stage.value]
        elif self.collection:
            parts = ["collection", self.tenant, self.collection]
        else:
            parts = [_ALL]
        return "/".join([quote(part, safe="") for part in parts]).encode()

    @classmethod
    def from_record_key(cls, record_key: bytes | None) -> Target:
        """The inverse of ``record_key``.

        Raises:
            Unreadable: it is none, or of a newer version.
        """
        try:
            key = (record_key or b"").decode("ascii")
            parts = [unquote(part, errors="strict") for part in key.split("/")]
        except UnicodeDecodeError as error:
            raise _unknown(record_key) from error
        match parts:
            case ["all"]:
                target = cls()
            case ["stage", name] if name in list(Stage):
                target = cls(stage=Stage(name))
            case ["collection", tenant, collection]:
                target = cls(tenant=tenant, collection=collection)
                target.validate()
            case _:
                raise _unknown(record_key)
        if target.record_key != record_key:
            raise _unknown(record_key)
        return target

    def validate(self) -> None:
        """Check tenant and collection against the bounds of a document's.

        Raises:
            Unreadable: naming the bound.
        """
        if self.tenant or self.collection:
            try:
                DocumentKey(self.tenant, self.collection, "any").validate()
            except InvalidKeyError as error:
                raise Unreadable(error.code, str(error), advice=_ADVICE) from error


EVERYTHING = Target()


def _unknown(record_key: bytes | None) -> Unreadable:
    return Unreadable(
        "invalid_key",
        f"{record_key!r} names nothing that can be paused",
        advice=_ADVICE,
    )


@dataclass(frozen=True, slots=True)
class Control:
    """What is paused after some records of the topic; each gives another value."""

    pauses: Mapping[Target, Pause] = field(default_factory=dict)

    def after(self, key: bytes | None, value: bytes | None) -> Control:
        """What is paused once this record is read too.

        Raises:
            Unreadable: it says nothing; all stays as it is.
        """
        target = Target.from_record_key(key)
        others = {each: why for each, why in self.pauses.items() if each != target}
        if value is None:
            return Control(others)
        return Control(others | {target: decode_pause(value)})

    def paused(self, stage: Stage) -> Pause | None:
        """Why a stage does not work: its own pause, or that of everything."""
        return self.pauses.get(Target(stage=stage)) or self.pauses.get(EVERYTHING)

    def collection_paused(self, tenant: str, collection: str) -> Pause | None:
        """Why a collection's events wait; what is paused beside it does not count."""
        return self.pauses.get(Target(tenant=tenant, collection=collection))
