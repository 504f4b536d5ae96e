from headrace.v1 import document_pb2 as _document_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_LOADER: _ClassVar[Stage]
    STAGE_CHUNKER: _ClassVar[Stage]
    STAGE_EMBEDDER: _ClassVar[Stage]
    STAGE_INDEXER: _ClassVar[Stage]

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_PASSED_ON: _ClassVar[State]
    STATE_INDEXED: _ClassVar[State]
    STATE_INDEXED_WITH_ERRORS: _ClassVar[State]
    STATE_UNCHANGED: _ClassVar[State]
    STATE_FAILED: _ClassVar[State]
    STATE_DELETED: _ClassVar[State]
    STATE_SUPERSEDED: _ClassVar[State]
STAGE_UNSPECIFIED: Stage
STAGE_LOADER: Stage
STAGE_CHUNKER: Stage
STAGE_EMBEDDER: Stage
STAGE_INDEXER: Stage
STATE_UNSPECIFIED: State
STATE_PASSED_ON: State
STATE_INDEXED: State
STATE_INDEXED_WITH_ERRORS: State
STATE_UNCHANGED: State
STATE_FAILED: State
STATE_DELETED: State
STATE_SUPERSEDED: State

class StatusError(_message.Message):
    __slots__ = ("code", "message", "advice", "retryable")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    advice: str
    retryable: bool
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., advice: _Optional[str] = ..., retryable: _Optional[bool] = ...) -> None: ...

class OutputPosition(_message.Message):
    __slots__ = ("topic", "partition", "last_offset")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    LAST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    last_offset: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., last_offset: _Optional[int] = ...) -> None: ...

class StatusEvent(_message.Message):
    __slots__ = ("key", "revision", "arrival", "stage", "state", "error", "attempts", "chunks", "tokens", "failed_chunks", "waiting_ms", "working_ms", "output", "at_ms", "metadata", "lane")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    FAILED_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    WAITING_MS_FIELD_NUMBER: _ClassVar[int]
    WORKING_MS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    key: _document_pb2.DocumentKey
    revision: int
    arrival: _document_pb2.Arrival
    stage: Stage
    state: State
    error: StatusError
    attempts: int
    chunks: int
    tokens: int
    failed_chunks: int
    waiting_ms: int
    working_ms: int
    output: OutputPosition
    at_ms: int
    metadata: _document_pb2.Metadata
    lane: _document_pb2.Lane
    def __init__(self, key: _Optional[_Union[_document_pb2.DocumentKey, _Mapping]] = ..., revision: _Optional[int] = ..., arrival: _Optional[_Union[_document_pb2.Arrival, _Mapping]] = ..., stage: _Optional[_Union[Stage, str]] = ..., state: _Optional[_Union[State, str]] = ..., error: _Optional[_Union[StatusError, _Mapping]] = ..., attempts: _Optional[int] = ..., chunks: _Optional[int] = ..., tokens: _Optional[int] = ..., failed_chunks: _Optional[int] = ..., waiting_ms: _Optional[int] = ..., working_ms: _Optional[int] = ..., output: _Optional[_Union[OutputPosition, _Mapping]] = ..., at_ms: _Optional[int] = ..., metadata: _Optional[_Union[_document_pb2.Metadata, _Mapping]] = ..., lane: _Optional[_Union[_document_pb2.Lane, str]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("key", "revision", "arrival", "stage", "worker", "started_at_ms", "at_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    key: _document_pb2.DocumentKey
    revision: int
    arrival: _document_pb2.Arrival
    stage: Stage
    worker: str
    started_at_ms: int
    at_ms: int
    def __init__(self, key: _Optional[_Union[_document_pb2.DocumentKey, _Mapping]] = ..., revision: _Optional[int] = ..., arrival: _Optional[_Union[_document_pb2.Arrival, _Mapping]] = ..., stage: _Optional[_Union[Stage, str]] = ..., worker: _Optional[str] = ..., started_at_ms: _Optional[int] = ..., at_ms: _Optional[int] = ...) -> None: ...
