"""What runs in a worker thread: decode, split, encode. No I/O of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from headrace.fingerprint import ChunkingSettings
from headrace.messages import (
    ChunkSlice,
    DocumentRevision,
    LoadedText,
    Operation,
    TextPart,
)
from headrace.wire import TextPartReader, decode_loaded_text, encode_chunk_slice
from headrace_chunker.slices import slices
from headrace_chunker.splitting import split
from headrace_chunker.tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Output:
    """A slice as it goes to the broker, with the counts that its headers tell."""

    value: bytes
    slice_number: int
    chunks: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Inline:
    """What became of a record: all of its output, unless its text is in an object."""

    text: LoadedText
    outputs: tuple[Output, ...]


class Splitter:
    """Turns texts into encoded slices; any thread may call it."""

    def __init__(self, *, settings: ChunkingSettings, tokenizer: Tokenizer) -> None:
        self._settings = settings
        self._tokenizer = tokenizer

    def inline(
        self, value: bytes | None, *, accept: Callable[[DocumentRevision], bool]
    ) -> Inline:
        """Decode a record and split the text that it carries.

        Nothing is split where ``accept`` says no or the text is elsewhere.

        Raises:
            Unreadable: the bytes are no loaded text.
        """
        text = decode_loaded_text(value)
        document = text.document
        if document.operation is Operation.DELETE:
            return Inline(text, (_output(ChunkSlice(document, 0)),))
        if text.parts is None or not accept(document):
            return Inline(text, ())
        return Inline(text, tuple(self._outputs(document, text.parts)))

    def stream(
        self, document: DocumentRevision, pieces: Iterable[bytes]
    ) -> Iterator[Output]:
        """Split a text whose bytes come as needed.

        Raises:
            Unreadable: the bytes are no text.
        """
        return self._outputs(document, _parts(pieces))

    def _outputs(
        self, document: DocumentRevision, parts: Iterable[TextPart]
    ) -> Iterator[Output]:
        chunks = split(
            parts,
            media_type=document.metadata.media_type,
            name=document.metadata.name,
            settings=self._settings,
            tokenizer=self._tokenizer,
        )
        return map(_output, slices(document, chunks))


def _parts(pieces: Iterable[bytes]) -> Iterator[TextPart]:
    reader = TextPartReader()
    for piece in pieces:
        yield from reader.feed(piece)
    reader.close()


def _output(piece: ChunkSlice) -> Output:
    return Output(
        encode_chunk_slice(piece),
        piece.slice_number,
        len(piece.chunks),
        sum(chunk.token_count for chunk in piece.chunks),
    )
