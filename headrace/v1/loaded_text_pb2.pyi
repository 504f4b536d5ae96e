from headrace.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SegmentKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEGMENT_KIND_UNSPECIFIED: _ClassVar[SegmentKind]
    SEGMENT_KIND_PROSE: _ClassVar[SegmentKind]
    SEGMENT_KIND_HEADING: _ClassVar[SegmentKind]
    SEGMENT_KIND_TABLE: _ClassVar[SegmentKind]
    SEGMENT_KIND_CODE: _ClassVar[SegmentKind]
SEGMENT_KIND_UNSPECIFIED: SegmentKind
SEGMENT_KIND_PROSE: SegmentKind
SEGMENT_KIND_HEADING: SegmentKind
SEGMENT_KIND_TABLE: SegmentKind
SEGMENT_KIND_CODE: SegmentKind

class Segment(_message.Message):
    __slots__ = ("start", "end", "kind", "page", "heading_path", "section", "language", "has_header")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    HEADING_PATH_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    HAS_HEADER_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    kind: SegmentKind
    page: int
    heading_path: _containers.RepeatedScalarFieldContainer[str]
    section: str
    language: str
    has_header: bool
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ..., kind: _Optional[_Union[SegmentKind, str]] = ..., page: _Optional[int] = ..., heading_path: _Optional[_Iterable[str]] = ..., section: _Optional[str] = ..., language: _Optional[str] = ..., has_header: _Optional[bool] = ...) -> None: ...

class TextPart(_message.Message):
    __slots__ = ("text", "segments")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    text: str
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    def __init__(self, text: _Optional[str] = ..., segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ...) -> None: ...

class TextParts(_message.Message):
    __slots__ = ("parts",)
    PARTS_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[TextPart]
    def __init__(self, parts: _Optional[_Iterable[_Union[TextPart, _Mapping]]] = ...) -> None: ...

class LoadedText(_message.Message):
    __slots__ = ("document", "inline", "object", "parser", "length")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    PARSER_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    document: _document_pb2.DocumentRevision
    inline: TextParts
    object: _document_pb2.ObjectReference
    parser: str
    length: int
    def __init__(self, document: _Optional[_Union[_document_pb2.DocumentRevision, _Mapping]] = ..., inline: _Optional[_Union[TextParts, _Mapping]] = ..., object: _Optional[_Union[_document_pb2.ObjectReference, _Mapping]] = ..., parser: _Optional[str] = ..., length: _Optional[int] = ...) -> None: ...
