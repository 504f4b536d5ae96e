"""What made a document's points: parser, chunker and model. Pure: no I/O.

A fingerprint is ``<parser>-<chunker>-<model>``, 12 hexadecimal digits each, so that
each stage can tell whether the part that it does itself is its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

PARSER_VERSION = 1
"""Raise when the loader's text or segments of any document change."""
CHUNKER_VERSION = 1
"""Raise when the chunks of any text change."""


@dataclass(frozen=True, slots=True)
class ChunkingSettings:
    """Sizes in tokens of the model's tokenizer; the text after a prefix counts."""

    tokenizer: str
    """``minilm`` (the local model's WordPiece), ``cl100k_base`` or ``o200k_base``."""
    prose_tokens: int
    prose_overlap: int
    code_tokens: int
    table_tokens: int
    whole_tokens: int
    """A document of at most this many tokens stays one chunk."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What decides a vector."""

    provider: str
    """``openai``, ``local`` or ``hash``."""
    model: str
    model_revision: str
    dimensions: int
    document_prefix: str = ""
    query_prefix: str = ""


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parser_part() -> str:
    """The loader's part."""
    return _digest(["parser", PARSER_VERSION])


def chunker_part(settings: ChunkingSettings) -> str:
    """The chunker's part."""
    return _digest(["chunker", CHUNKER_VERSION, asdict(settings)])


def model_part(settings: ModelSettings) -> str:
    """The embedder's part."""
    return _digest(["model", asdict(settings)])


def fingerprint(chunking: ChunkingSettings, model: ModelSettings) -> str:
    """The whole."""
    return "-".join([parser_part(), chunker_part(chunking), model_part(model)])


def split(fingerprint: str) -> tuple[str, str, str]:
    """Parser, chunker and model part.

    Raises:
        ValueError: not three parts.
    """
    parser, chunker, model = fingerprint.split("-")
    return parser, chunker, model
