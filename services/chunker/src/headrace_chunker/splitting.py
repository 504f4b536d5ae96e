"""Splits a document into chunks. Pure: no I/O, and the same input, the same chunks.

What always holds, whatever the text (tests/unit/headrace_chunker/test_invariants.py):

- ``chunk.text`` is the document's text from ``start`` to ``end``, without white space
  around it (code keeps the indentation of its first line), and never blank;
- ``token_count`` is the tokenizer's exact count of it, within the limit for its kind;
- every character that is not white space is in a chunk; only neighbouring chunks of
  one section of prose overlap, by no more than the setting;
- it does not matter how the text was cut into parts, and memory does not grow with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headrace.fingerprint import ChunkingSettings
from headrace.messages import Chunk, SegmentKind, TextPart
from headrace_chunker.code import Code
from headrace_chunker.fitting import Measure
from headrace_chunker.items import Item, Items, Span, common_path
from headrace_chunker.prose import Prose
from headrace_chunker.ruler import MAX_CHUNK_BYTES, Ruler
from headrace_chunker.structure import document_items
from headrace_chunker.table import Table
from headrace_chunker.tokenizers import Tokenizer
from headrace_chunker.window import Window


def split(
    parts: Iterable[TextPart],
    *,
    media_type: str,
    name: str,
    settings: ChunkingSettings,
    tokenizer: Tokenizer,
) -> Iterator[Chunk]:
    """The chunks of a document, as soon as each is certain.

    Args:
        parts: its text and what is known of it, read as far as needed.
        media_type: decides with ``name`` what text without segments is.
        name: a file name or title.
        settings: sizes and overlap.
        tokenizer: the embedding model's.
    """
    window = Window(parts)
    measure = Measure(window, Ruler(window, tokenizer))
    items = document_items(window, media_type=media_type, name=name)
    whole = _whole(measure, items, settings)
    spans = _spans(measure, items, settings) if whole is None else iter([whole])
    for number, span in enumerate(spans):
        yield Chunk(
            number,
            span.text,
            span.token_count,
            span.start,
            span.end,
            span.page,
            span.heading_path,
            span.section,
        )
        # The next chunk may overlap this one.
        measure.ruler.release(span.start)
        window.release(span.start)


def _whole(
    measure: Measure, items: Iterator[Item], settings: ChunkingSettings
) -> Span | None:
    """The one chunk of a small document; nothing is taken from ``items`` otherwise."""
    window = measure.window
    if settings.whole_tokens == 0 or window.reach(MAX_CHUNK_BYTES + 1):
        return None
    start = measure.first_text(0, window.end)
    text = window.text(start, window.end).rstrip()
    end = start + len(text)
    if not text or not measure.ruler.fits(start, end, limit=settings.whole_tokens):
        return None
    holding = [item for item in items if item.end > start and item.start < end]
    bodies = [item for item in holding if item.kind is not SegmentKind.HEADING]
    path = (bodies or holding)[0].heading_path
    for item in bodies or holding:
        path = common_path(path, item.heading_path)
    return Span(
        start,
        end,
        text,
        measure.ruler.exact(start, end),
        holding[0].page,
        path,
        holding[0].section,
    )


def _spans(
    measure: Measure, source: Iterator[Item], settings: ChunkingSettings
) -> Iterator[Span]:
    items = Items(source)
    limits = {
        SegmentKind.TABLE: settings.table_tokens,
        SegmentKind.CODE: settings.code_tokens,
    }

    def travels(item: Item) -> bool:
        # Asked here first, and again by the prose that may take it.
        if item.travels is None:
            item.travels = fits(item)
        return item.travels

    def fits(item: Item) -> bool:
        limit = min(limits[item.kind], settings.prose_tokens)
        start = measure.first_text(item.start, item.end)
        end = start + len(measure.window.text(start, item.end).rstrip())
        return not item.more and measure.ruler.fits(start, end, limit=limit)

    while (item := items.peek()) is not None:
        if item.kind not in limits or travels(item):
            yield from Prose(
                measure,
                items,
                limit=settings.prose_tokens,
                overlap=settings.prose_overlap,
                travels=travels,
            ).spans()
        elif item.kind is SegmentKind.TABLE:
            yield from Table(measure, items, limit=settings.table_tokens).spans()
        else:
            yield from Code(measure, items, limit=settings.code_tokens).spans()
