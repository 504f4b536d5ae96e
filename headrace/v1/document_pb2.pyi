from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LANE_UNSPECIFIED: _ClassVar[Lane]
    LANE_INTERACTIVE: _ClassVar[Lane]
    LANE_BULK: _ClassVar[Lane]

class Operation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_UNSPECIFIED: _ClassVar[Operation]
    OPERATION_UPSERT: _ClassVar[Operation]
    OPERATION_DELETE: _ClassVar[Operation]

class OnPartial(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_PARTIAL_UNSPECIFIED: _ClassVar[OnPartial]
    ON_PARTIAL_KEEP_OLD: _ClassVar[OnPartial]
    ON_PARTIAL_PUBLISH: _ClassVar[OnPartial]
LANE_UNSPECIFIED: Lane
LANE_INTERACTIVE: Lane
LANE_BULK: Lane
OPERATION_UNSPECIFIED: Operation
OPERATION_UPSERT: Operation
OPERATION_DELETE: Operation
ON_PARTIAL_UNSPECIFIED: OnPartial
ON_PARTIAL_KEEP_OLD: OnPartial
ON_PARTIAL_PUBLISH: OnPartial

class DocumentKey(_message.Message):
    __slots__ = ("tenant", "collection", "document_id")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    collection: str
    document_id: str
    def __init__(self, tenant: _Optional[str] = ..., collection: _Optional[str] = ..., document_id: _Optional[str] = ...) -> None: ...

class Arrival(_message.Message):
    __slots__ = ("append_time_ms", "topic_id", "partition", "offset")
    APPEND_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    append_time_ms: int
    topic_id: str
    partition: int
    offset: int
    def __init__(self, append_time_ms: _Optional[int] = ..., topic_id: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class Metadata(_message.Message):
    __slots__ = ("name", "media_type", "source_uri", "user_id", "session_id", "import_job", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_URI_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    IMPORT_JOB_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    media_type: str
    source_uri: str
    user_id: str
    session_id: str
    import_job: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., media_type: _Optional[str] = ..., source_uri: _Optional[str] = ..., user_id: _Optional[str] = ..., session_id: _Optional[str] = ..., import_job: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ObjectReference(_message.Message):
    __slots__ = ("uri", "size", "sha256")
    URI_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    uri: str
    size: int
    sha256: bytes
    def __init__(self, uri: _Optional[str] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class DocumentRevision(_message.Message):
    __slots__ = ("key", "revision", "fingerprint", "content_hash", "arrival", "source_version", "lane", "metadata", "on_partial", "operation", "accepted_at_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    ON_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    key: DocumentKey
    revision: int
    fingerprint: str
    content_hash: bytes
    arrival: Arrival
    source_version: int
    lane: Lane
    metadata: Metadata
    on_partial: OnPartial
    operation: Operation
    accepted_at_ms: int
    def __init__(self, key: _Optional[_Union[DocumentKey, _Mapping]] = ..., revision: _Optional[int] = ..., fingerprint: _Optional[str] = ..., content_hash: _Optional[bytes] = ..., arrival: _Optional[_Union[Arrival, _Mapping]] = ..., source_version: _Optional[int] = ..., lane: _Optional[_Union[Lane, str]] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ..., on_partial: _Optional[_Union[OnPartial, str]] = ..., operation: _Optional[_Union[Operation, str]] = ..., accepted_at_ms: _Optional[int] = ...) -> None: ...
