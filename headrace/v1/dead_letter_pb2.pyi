from headrace.v1 import document_pb2 as _document_pb2
from headrace.v1 import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordHeader(_message.Message):
    __slots__ = ("key", "value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    key: str
    value: bytes
    def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class DeadLetter(_message.Message):
    __slots__ = ("stage", "error", "attempts", "key", "revision", "arrival", "fingerprint", "first_chunk", "end_chunk", "origin_topic", "origin_partition", "origin_offset", "origin_timestamp_ms", "original_key", "original_value", "original_object", "original_headers", "traceparent", "failed_at_ms", "worker_version")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FIRST_CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_CHUNK_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_TOPIC_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_PARTITION_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_KEY_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_VALUE_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_OBJECT_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_HEADERS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    FAILED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    WORKER_VERSION_FIELD_NUMBER: _ClassVar[int]
    stage: _status_pb2.Stage
    error: _status_pb2.StatusError
    attempts: int
    key: _document_pb2.DocumentKey
    revision: int
    arrival: _document_pb2.Arrival
    fingerprint: str
    first_chunk: int
    end_chunk: int
    origin_topic: str
    origin_partition: int
    origin_offset: int
    origin_timestamp_ms: int
    original_key: bytes
    original_value: bytes
    original_object: _document_pb2.ObjectReference
    original_headers: _containers.RepeatedCompositeFieldContainer[RecordHeader]
    traceparent: str
    failed_at_ms: int
    worker_version: str
    def __init__(self, stage: _Optional[_Union[_status_pb2.Stage, str]] = ..., error: _Optional[_Union[_status_pb2.StatusError, _Mapping]] = ..., attempts: _Optional[int] = ..., key: _Optional[_Union[_document_pb2.DocumentKey, _Mapping]] = ..., revision: _Optional[int] = ..., arrival: _Optional[_Union[_document_pb2.Arrival, _Mapping]] = ..., fingerprint: _Optional[str] = ..., first_chunk: _Optional[int] = ..., end_chunk: _Optional[int] = ..., origin_topic: _Optional[str] = ..., origin_partition: _Optional[int] = ..., origin_offset: _Optional[int] = ..., origin_timestamp_ms: _Optional[int] = ..., original_key: _Optional[bytes] = ..., original_value: _Optional[bytes] = ..., original_object: _Optional[_Union[_document_pb2.ObjectReference, _Mapping]] = ..., original_headers: _Optional[_Iterable[_Union[RecordHeader, _Mapping]]] = ..., traceparent: _Optional[str] = ..., failed_at_ms: _Optional[int] = ..., worker_version: _Optional[str] = ...) -> None: ...
