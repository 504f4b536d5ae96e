from headrace.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Chunk(_message.Message):
    __slots__ = ("number", "text", "token_count", "start", "end", "page", "heading_path", "section")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    HEADING_PATH_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    number: int
    text: str
    token_count: int
    start: int
    end: int
    page: int
    heading_path: _containers.RepeatedScalarFieldContainer[str]
    section: str
    def __init__(self, number: _Optional[int] = ..., text: _Optional[str] = ..., token_count: _Optional[int] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., page: _Optional[int] = ..., heading_path: _Optional[_Iterable[str]] = ..., section: _Optional[str] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("chunk_count", "hash")
    CHUNK_COUNT_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    chunk_count: int
    hash: bytes
    def __init__(self, chunk_count: _Optional[int] = ..., hash: _Optional[bytes] = ...) -> None: ...

class ChunkSlice(_message.Message):
    __slots__ = ("document", "slice_number", "chunks", "manifest")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    SLICE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    document: _document_pb2.DocumentRevision
    slice_number: int
    chunks: _containers.RepeatedCompositeFieldContainer[Chunk]
    manifest: Manifest
    def __init__(self, document: _Optional[_Union[_document_pb2.DocumentRevision, _Mapping]] = ..., slice_number: _Optional[int] = ..., chunks: _Optional[_Iterable[_Union[Chunk, _Mapping]]] = ..., manifest: _Optional[_Union[Manifest, _Mapping]] = ...) -> None: ...

class Hole(_message.Message):
    __slots__ = ("reason", "detail", "attempts")
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    detail: str
    attempts: int
    def __init__(self, reason: _Optional[str] = ..., detail: _Optional[str] = ..., attempts: _Optional[int] = ...) -> None: ...

class EmbeddedChunk(_message.Message):
    __slots__ = ("chunk", "vector", "hole")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    HOLE_FIELD_NUMBER: _ClassVar[int]
    chunk: Chunk
    vector: bytes
    hole: Hole
    def __init__(self, chunk: _Optional[_Union[Chunk, _Mapping]] = ..., vector: _Optional[bytes] = ..., hole: _Optional[_Union[Hole, _Mapping]] = ...) -> None: ...

class EmbeddedSlice(_message.Message):
    __slots__ = ("document", "slice_number", "chunks", "manifest")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    SLICE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    document: _document_pb2.DocumentRevision
    slice_number: int
    chunks: _containers.RepeatedCompositeFieldContainer[EmbeddedChunk]
    manifest: Manifest
    def __init__(self, document: _Optional[_Union[_document_pb2.DocumentRevision, _Mapping]] = ..., slice_number: _Optional[int] = ..., chunks: _Optional[_Iterable[_Union[EmbeddedChunk, _Mapping]]] = ..., manifest: _Optional[_Union[Manifest, _Mapping]] = ...) -> None: ...
