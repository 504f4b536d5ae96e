"""Decodes and judges the answers of an embeddings API. Pure: no I/O.

Vectors go from the response's JSON to float32 bytes without a Python object per number
where the server sends base64. Lists of floats are decoded a few texts at a time: a
whole answer at once would hold the event loop too long.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec
import numpy as np

from headrace_embedder.providers.port import Unclear

TEXTS_AT_A_TIME = 64
"""1,536 floats a text at about 60 µs: 4 ms between two turns of the event loop."""

T = TypeVar("T")


class Encoding(StrEnum):
    """How a server is asked to write vectors; the values are the API's own."""

    BASE64 = "base64"
    FLOAT = "float"


class _Item(msgspec.Struct, Generic[T]):
    index: int
    embedding: T


class _Answer(msgspec.Struct, Generic[T]):
    data: list[_Item[T]]


_BASE64 = msgspec.json.Decoder(_Answer[bytes])
_RAW = msgspec.json.Decoder(_Answer[msgspec.Raw])
_FLOATS = msgspec.json.Decoder(list[float])


@dataclass(frozen=True, slots=True)
class Expected:
    """What a right answer looks like; ``dimensions`` ``None`` accepts any."""

    texts: int
    dimensions: int | None


def decode(
    body: bytes, encoding: Encoding, expected: Expected
) -> Iterator[list[bytes]]:
    """Yield the vectors in the order of the texts, some at a time.

    Take nothing as good before the iterator has ended: every part is judged.

    Raises:
        Unclear: ``bad_answer``, naming what is wrong.
    """
    try:
        if encoding is Encoding.BASE64:
            found = _in_order(_BASE64.decode(body).data, expected.texts)
            for part in _parts(found):
                yield _judged(part, expected.dimensions)
        else:
            lists = _in_order(_RAW.decode(body).data, expected.texts)
            for raw in _parts(lists):
                part = [_packed(_FLOATS.decode(one)) for one in raw]
                yield _judged(part, expected.dimensions)
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError) as error:
        start = body[:40].decode(errors="replace")
        raise Unclear(
            "bad_answer", f"the answer is not what was asked for: {error}; {start!r}"
        ) from error


def _parts(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), TEXTS_AT_A_TIME):
        yield items[start : start + TEXTS_AT_A_TIME]


def _packed(numbers: list[float]) -> bytes:
    packed = array("f", numbers)
    if _BIG_ENDIAN:
        packed.byteswap()
    return packed.tobytes()


_BIG_ENDIAN = array("H", [1]).tobytes() == b"\x00\x01"


def _in_order(items: list[_Item[T]], texts: int) -> list[T]:
    if len(items) != texts:
        raise Unclear("bad_answer", f"{len(items)} vectors came for {texts} texts")
    ordered: list[T | None] = [None] * texts
    for item in items:
        if not 0 <= item.index < texts:
            raise Unclear("bad_answer", f"index {item.index} was never asked for")
        if ordered[item.index] is not None:
            raise Unclear("bad_answer", f"index {item.index} came twice")
        ordered[item.index] = item.embedding
    return [embedding for embedding in ordered if embedding is not None]


def _judged(vectors: list[bytes], dimensions: int | None) -> list[bytes]:
    """The same vectors, once nothing speaks against them."""
    wanted = len(vectors[0]) if dimensions is None else dimensions * 4
    for vector in vectors:
        if len(vector) != wanted or not vector or len(vector) % 4:
            raise Unclear(
                "bad_answer",
                f"a vector of {len(vector)} bytes came where {wanted} were expected",
            )
    matrix = np.frombuffer(b"".join(vectors), dtype="<f4").reshape(len(vectors), -1)
    squares = np.einsum("ij,ij->i", matrix, matrix)
    # A sum of squares is finite only if every number is; a huge one is as useless.
    if not np.isfinite(squares).all():
        raise Unclear("bad_answer", "a vector holds NaN, infinity or a huge number")
    if not squares.all():
        raise Unclear("bad_answer", "a vector is zero")
    return vectors


def agree(first: bytes, second: bytes) -> bool:
    """Whether two vectors of one text are the same but for rounding.

    Servers are not bit-for-bit deterministic between two calls; a wrong encoding is
    off by far more than this.
    """
    if len(first) != len(second):
        return False
    a = np.frombuffer(first, dtype="<f4").astype(np.float64)
    b = np.frombuffer(second, dtype="<f4").astype(np.float64)
    norms = math.sqrt(float(a @ a)), math.sqrt(float(b @ b))
    return float(a @ b) > 0.99 * norms[0] * norms[1] and math.isclose(
        *norms, rel_tol=0.02
    )


def dimensions_of(vectors: Sequence[bytes]) -> int:
    """How many numbers each of some judged vectors has."""
    return len(vectors[0]) // 4
