"""The collections in a data directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
from pathlib import Path

import grpc
from google.protobuf import json_format

from headrace.qdrant_messages import qdrant
from headrace_local.store.collection import Collection
from headrace_local.store.errors import Refused, invalid, missing
from headrace_local.store.room import require_room

_DESCRIPTION = "collection.json"
_SHARD = "shard"
_UNFINISHED = ".partly"


class DirectoryInUse(Exception):
    """Another store process has the data directory."""


class Catalog:
    """Owns a data directory and opens every collection in it. Thread-safe.

    A collection is a folder named after a hash of its name, since names are not file
    names. It appears and disappears by a rename, so that no crash leaves half of one.

    Raises:
        DirectoryInUse: naming the process that has it.
    """

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock_file = _locked(path / "lock")
        self._lock = threading.Lock()
        self._collections: dict[str, Collection] = {}
        for leftover in path.glob(f"*{_UNFINISHED}"):
            shutil.rmtree(leftover)
        for description in sorted(path.glob(f"*/{_DESCRIPTION}")):
            request = json_format.Parse(
                description.read_text(), qdrant.CreateCollection()
            )
            self._collections[request.collection_name] = Collection(
                description.parent / _SHARD, request
            )

    def all(self) -> list[Collection]:
        """Every collection."""
        return list(self._collections.values())

    def get(self, name: str) -> Collection:
        """One collection.

        Raises:
            Refused: there is none of this name.
        """
        found = self._collections.get(name)
        if found is None:
            raise missing(name)
        return found

    def exists(self, name: str) -> bool:
        """Whether there is one."""
        return name in self._collections

    def create(self, request: qdrant.CreateCollection) -> None:
        """Add a collection.

        Raises:
            Refused: it exists, or asks for what the local store lacks.
        """
        name = request.collection_name
        if not name or len(name.encode()) > 255:
            raise invalid("a collection's name must have 1 to 255 bytes")
        with self._lock:
            if name in self._collections:
                raise Refused(
                    grpc.StatusCode.ALREADY_EXISTS,
                    f"Wrong input: Collection `{name}` already exists!",
                )
            require_room(self._path)
            path = self._folder(name)
            partly = path.with_suffix(_UNFINISHED)
            shutil.rmtree(partly, ignore_errors=True)
            Collection.create(partly / _SHARD, request)
            description = json_format.MessageToJson(request)
            (partly / _DESCRIPTION).write_text(description)
            partly.rename(path)
            self._collections[name] = Collection(path / _SHARD, request)

    def delete(self, name: str) -> bool:
        """Remove a collection; answers whether there was one."""
        with self._lock:
            found = self._collections.pop(name, None)
            if found is None:
                return False
            found.close()
            path = self._folder(name)
            partly = path.with_suffix(_UNFINISHED)
            path.rename(partly)
            shutil.rmtree(partly)
            return True

    def flush(self) -> None:
        """Shorten the logs of all that was written to."""
        for collection in self.all():
            collection.flush()

    def close(self) -> None:
        """Close everything and give the directory back."""
        with self._lock:
            for collection in self.all():
                collection.close()
            os.close(self._lock_file)

    def _folder(self, name: str) -> Path:
        return self._path / hashlib.sha256(name.encode()).hexdigest()[:32]


def _locked(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(file, 32).decode().strip() or "unknown"
        os.close(file)
        raise DirectoryInUse(
            f"{path.parent} is in use by another local store (process {owner}); "
            "stop it or give another --data-dir"
        ) from None
    os.ftruncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    return file
