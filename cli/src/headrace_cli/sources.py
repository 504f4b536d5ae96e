"""Which documents a command line names: files, folders and URLs.

A document's id is its path relative to the folder that was named, the file's name where
the file itself was named, or the normalised URL. Folders are walked in sorted order, so
the same tree always gives the same documents in the same order.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from headrace_cli.failures import usage

_URL_SCHEMES = ("http", "https", "s3", "gs", "az")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_ID_BYTES = 1024
_MAX_URI_BYTES = 2048
"""The contract's bounds; other letters than ASCII take three times as much in a URI."""


@dataclass(frozen=True, slots=True)
class Source:
    """One document to send: a file of this machine, or a URL."""

    document_id: str
    uri: str
    name: str
    path: Path | None = None
    """The file; ``None`` for a URL."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something below a named folder that is no document, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """A file that should be a document and cannot be one."""

    path: str
    code: str
    message: str
    advice: str


@dataclass(slots=True)
class Collected:
    """What the named paths hold."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    unusable: list[Unusable] = field(default_factory=list)
    roots: list[Path] = field(default_factory=list)
    """Real paths of the folders named, and of the files named."""


def collect(names: Sequence[str]) -> Collected:
    """Find all documents that the names stand for.

    Raises:
        CommandFailed: a name stands for nothing, or two documents would be one.
    """
    collected = Collected()
    for name in names:
        if urlsplit(name).scheme in _URL_SCHEMES:
            url = normalised(name)
            title = urlsplit(url).path.rpartition("/")[2] or url
            collected.sources.append(Source(url, url, title))
            continue
        path = Path(name.removeprefix("file://"))
        if not path.exists():
            raise usage(
                f"there is no file or folder {name!r}",
                "give an existing path, or a URL that begins with https://",
            )
        real = path.resolve()
        collected.roots.append(real)
        if real.is_dir():
            _walk(real, collected)
        else:
            _add(real, real.name, collected)
    _refuse_collisions(collected.sources)
    return collected


def normalised(url: str) -> str:
    """The URL with scheme and host in lower case, no default port, no fragment."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    try:
        port = parts.port
    except ValueError as error:
        raise usage(f"{url!r} is no URL: {error}") from error
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme.lower()):
        host = f"{host}:{port}"
    if parts.username is not None:
        raise usage(
            f"the URL of {host} holds credentials",
            "they would be stored with the document; fetch it another way",
        )
    path = parts.path or "/"
    return urlunsplit((parts.scheme.lower(), host, path, parts.query, ""))


def _walk(root: Path, collected: Collected) -> None:
    for entry in _entries(root, root, collected):
        path = Path(entry.path)
        if not entry.is_symlink():
            _add(path, str(path.relative_to(root)), collected)
            continue
        real = path.resolve()
        if real.is_file() and real.is_relative_to(root):
            reason = "a link to a file that is there under its own name"
        else:
            reason = "a link to something outside the folder, or to nothing"
        collected.skipped.append(Skipped(str(path), reason))


def _entries(
    folder: Path, root: Path, collected: Collected
) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        collected.unusable.append(
            Unusable(
                _shown(folder),
                "unreadable_folder",
                f"the folder cannot be read: {error.strerror}",
                "give its owner or this user the right to read it",
            )
        )
        return
    for entry in entries:
        if entry.name.startswith("."):
            collected.skipped.append(Skipped(_shown(entry.path), "hidden"))
        elif entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path), root, collected)
        else:
            yield entry


def _add(path: Path, document_id: str, collected: Collected) -> None:
    shown = _shown(path)
    try:
        encoded = document_id.encode()
    except UnicodeEncodeError:
        collected.unusable.append(
            Unusable(
                shown,
                "invalid_name",
                "the name is not valid UTF-8",
                "rename the file",
            )
        )
        return
    if len(encoded) > _MAX_ID_BYTES:
        collected.unusable.append(
            Unusable(
                shown,
                "invalid_name",
                f"the path below the named folder is over {_MAX_ID_BYTES} bytes",
                "name a folder further down, or shorten the names",
            )
        )
        return
    if len(path.as_uri()) > _MAX_URI_BYTES:
        collected.unusable.append(
            Unusable(
                shown,
                "invalid_name",
                f"the file's whole path is over {_MAX_URI_BYTES} bytes as a file: URI",
                "move the folder further up, or shorten the names",
            )
        )
        return
    if not stat.S_ISREG(path.stat().st_mode):
        collected.skipped.append(Skipped(shown, "no regular file"))
        return
    source = Source(document_id, path.as_uri(), path.name, path)
    collected.sources.append(source)


def _shown(path: str | Path) -> str:
    """A path that can be printed, whatever its bytes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _refuse_collisions(sources: Sequence[Source]) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        other = seen.setdefault(source.document_id, source)
        if other is not source:
            raise usage(
                f"{other.uri} and {source.uri} would both be the document "
                f"{source.document_id!r}",
                "name the folder above both, or use two collections",
            )
