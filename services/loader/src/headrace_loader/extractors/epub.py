"""E-books: chapters in the order of the spine."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from headrace_loader.extractors import xml
from headrace_loader.extractors.archive import encrypted, malformed, member, opened
from headrace_loader.extractors.html import page_pieces
from headrace_loader.extractors.source import Source
from headrace_loader.kinds import Kind
from headrace_loader.pieces import Piece
from headrace_loader.texts import blocks, find_charset

PARSER = "epub/1"

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_CHAPTER_BYTES = 64 * 1024 * 1024


def extract(source: Source, _: Kind) -> Iterator[Piece]:
    """Each chapter's pieces; its file is their section.

    Raises:
        DocumentFailure: ``encrypted``, ``malformed_document``.
    """
    with opened(source.file, source.limits) as archive:
        package = _package(archive)
        locked = _locked(archive)
        for path in _spine(archive, package):
            if path in locked:
                raise encrypted()
            chapter = member(archive, path)
            if chapter is None:
                continue
            with chapter:
                data = chapter.read(_CHAPTER_BYTES)
            yield from page_pieces(_text(data), section=path, xhtml=True)


def _text(data: bytes) -> str:
    file = io.BytesIO(data)
    return "".join(blocks(file, find_charset(file)))


def _package(archive: zipfile.ZipFile) -> str:
    container = _part(archive, _CONTAINER)
    for root in () if container is None else container.iter("{*}rootfile"):
        return str(root.get("full-path", ""))
    raise malformed("it names no package")


def _spine(archive: zipfile.ZipFile, package: str) -> Iterator[str]:
    root = _part(archive, package)
    if root is None:
        raise malformed("its package is missing")
    folder = posixpath.dirname(package)
    paths = {
        item.get("id", ""): posixpath.normpath(
            posixpath.join(folder, unquote(item.get("href", "")))
        )
        for item in root.iter("{*}item")
    }
    for reference in root.iter("{*}itemref"):
        path = paths.get(reference.get("idref", ""))
        if path:
            yield path


def _locked(archive: zipfile.ZipFile) -> set[str]:
    """Members under a lock; fonts often are, in books that are open otherwise."""
    root = _part(archive, _ENCRYPTION)
    if root is None:
        return set()
    return {
        unquote(reference.get("URI", ""))
        for reference in root.iter("{*}CipherReference")
    }


def _part(archive: zipfile.ZipFile, path: str) -> Any:
    file = member(archive, path)
    if file is None:
        return None
    with file:
        return xml.tree(file)
