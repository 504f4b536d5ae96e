"""Documents and settings for the chunker's tests."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from headrace_chunker.splitting import split
from headrace_chunker.tokenizers import Tokenizer, load_tokenizer

from headrace.fingerprint import ChunkingSettings
from headrace.messages import Chunk, Segment, TextPart

TOKENIZERS = ("minilm", "cl100k_base", "o200k_base")


@cache
def tokenizer(name: str) -> Tokenizer:
    return load_tokenizer(name)


def settings(
    *,
    tokenizer: str = "cl100k_base",
    size: int = 32,
    overlap: int = 0,
    whole: int = 0,
    code: int | None = None,
    table: int | None = None,
) -> ChunkingSettings:
    return ChunkingSettings(
        tokenizer, size, overlap, code or size, table or size, whole
    )


def parts(
    text: str, segments: tuple[Segment, ...] = (), *, size: int = 1 << 30
) -> list[TextPart]:
    """The text in parts of ``size``; long segments end with their part."""
    result = []
    for start in range(0, len(text), size):
        end = min(start + size, len(text))
        inside = []
        for segment in segments:
            first, last = max(segment.start, start), min(segment.end, end)
            if first < last:
                goes_on = segment.start < start
                inside.append(
                    replace(
                        segment,
                        start=first,
                        end=last,
                        has_header=segment.has_header and not goes_on,
                    )
                )
        result.append(TextPart(text[start:end], tuple(inside)))
    return result


def chunks_of(
    text: str,
    segments: tuple[Segment, ...] = (),
    *,
    name: str = "",
    media_type: str = "",
    part_size: int = 1 << 30,
    by: ChunkingSettings | None = None,
) -> list[Chunk]:
    by = by or settings()
    return list(
        split(
            parts(text, segments, size=part_size),
            media_type=media_type,
            name=name,
            settings=by,
            tokenizer=tokenizer(by.tokenizer),
        )
    )
