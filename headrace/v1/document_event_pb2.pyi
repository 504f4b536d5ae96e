from headrace.v1 import document_pb2 as _document_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DocumentEvent(_message.Message):
    __slots__ = ("key", "operation", "source_version", "inline", "uri", "object", "metadata", "lane", "on_partial")
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    ON_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    key: _document_pb2.DocumentKey
    operation: _document_pb2.Operation
    source_version: int
    inline: bytes
    uri: str
    object: _document_pb2.ObjectReference
    metadata: _document_pb2.Metadata
    lane: _document_pb2.Lane
    on_partial: _document_pb2.OnPartial
    def __init__(self, key: _Optional[_Union[_document_pb2.DocumentKey, _Mapping]] = ..., operation: _Optional[_Union[_document_pb2.Operation, str]] = ..., source_version: _Optional[int] = ..., inline: _Optional[bytes] = ..., uri: _Optional[str] = ..., object: _Optional[_Union[_document_pb2.ObjectReference, _Mapping]] = ..., metadata: _Optional[_Union[_document_pb2.Metadata, _Mapping]] = ..., lane: _Optional[_Union[_document_pb2.Lane, str]] = ..., on_partial: _Optional[_Union[_document_pb2.OnPartial, str]] = ...) -> None: ...
