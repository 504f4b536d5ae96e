"""The gRPC server: which methods there are, and what becomes of errors."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from headrace.qdrant_messages import qdrant
from headrace_local.store.catalog import Catalog
from headrace_local.store.collection_methods import CollectionMethods
from headrace_local.store.errors import Refused, unsupported
from headrace_local.store.point_methods import PointMethods

QDRANT_VERSION = "1.18.0"
"""Of the server whose behaviour the local store follows; clients compare it."""

_THREADS = 8
_MAX_MESSAGE_BYTES = 256 * 1024 * 1024
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # Two stores on one port would share the connections and lose half the writes.
    ("grpc.so_reuseport", 0),
    # The adapter's keepalive pings must not count as abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Method:
    request: type[Message]
    answer: Callable[[Any], Message]


def _methods(catalog: Catalog) -> Mapping[str, _Method]:
    collections, points = CollectionMethods(catalog), PointMethods(catalog)
    health = qdrant.HealthCheckReply(
        title="headrace local store", version=QDRANT_VERSION
    )
    return {
        "/qdrant.Qdrant/HealthCheck": _Method(
            qdrant.HealthCheckRequest, lambda _: health
        ),
        "/qdrant.Collections/Create": _Method(
            qdrant.CreateCollection, collections.create
        ),
        "/qdrant.Collections/Delete": _Method(
            qdrant.DeleteCollection, collections.delete
        ),
        "/qdrant.Collections/CollectionExists": _Method(
            qdrant.CollectionExistsRequest, collections.exists
        ),
        "/qdrant.Collections/List": _Method(
            qdrant.ListCollectionsRequest, collections.list
        ),
        "/qdrant.Collections/Get": _Method(
            qdrant.GetCollectionInfoRequest, collections.get
        ),
        "/qdrant.Points/Upsert": _Method(qdrant.UpsertPoints, points.upsert),
        "/qdrant.Points/Delete": _Method(qdrant.DeletePoints, points.delete),
        "/qdrant.Points/SetPayload": _Method(
            qdrant.SetPayloadPoints, points.set_payload
        ),
        "/qdrant.Points/UpdateBatch": _Method(
            qdrant.UpdateBatchPoints, points.update_batch
        ),
        "/qdrant.Points/CreateFieldIndex": _Method(
            qdrant.CreateFieldIndexCollection, points.create_field_index
        ),
        "/qdrant.Points/Get": _Method(qdrant.GetPoints, points.get),
        "/qdrant.Points/Count": _Method(qdrant.CountPoints, points.count),
        "/qdrant.Points/Scroll": _Method(qdrant.ScrollPoints, points.scroll),
        "/qdrant.Points/Query": _Method(qdrant.QueryPoints, points.query),
        "/qdrant.Points/QueryBatch": _Method(
            qdrant.QueryBatchPoints, points.query_batch
        ),
    }


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """Finds the handler of a call; for what is not offered, one that says so."""

    def __init__(self, methods: Mapping[str, _Method]) -> None:
        self._handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                _answering(name, method.answer),
                request_deserializer=method.request.FromString,
                response_serializer=operator.methodcaller("SerializeToString"),
            )
            for name, method in methods.items()
        }

    def service(self, handler_call_details: Any) -> Any:
        """See ``grpc.GenericRpcHandler``."""
        name = handler_call_details.method
        return self._handlers.get(name) or grpc.unary_unary_rpc_method_handler(
            _refusing(name)
        )


def _answering(
    name: str, answer: Callable[[Any], Message]
) -> Callable[[Any, Any], Message]:
    def handle(request: Any, context: Any) -> Message:
        started = time.perf_counter()
        try:
            response = answer(request)
        except Refused as refused:
            context.abort(refused.status, str(refused))
            raise  # not reached: abort raises
        except Exception:
            _log.exception("%s failed", name)
            context.abort(
                grpc.StatusCode.INTERNAL,
                "the local store failed; its log says why",
            )
            raise  # not reached: abort raises
        if any(field.name == "time" for field in response.DESCRIPTOR.fields):
            response.time = time.perf_counter() - started  # type: ignore[attr-defined]
        return response

    return handle


def _refusing(name: str) -> Callable[[Any, Any], bytes]:
    def handle(_: Any, context: Any) -> bytes:
        refused = unsupported(f"`{name}`")
        context.abort(refused.status, str(refused))
        raise refused  # not reached: abort raises

    return handle


class Server:
    """A store that answers on ``address`` once started."""

    def __init__(self, catalog: Catalog, *, host: str, port: int) -> None:
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="store"), options=_OPTIONS
        )
        self._server.add_generic_rpc_handlers((_Handlers(_methods(catalog)),))
        self._host = host
        self._port = port

    def start(self) -> str:
        """Listen; answers ``host:port``, the port being a free one where 0 was asked.

        Raises:
            RuntimeError: the address cannot be had.
        """
        port = self._server.add_insecure_port(f"{self._host}:{self._port}")
        self._server.start()
        return f"{self._host}:{port}"

    def stop(self, grace_s: float) -> None:
        """Refuse new calls and wait for those that run."""
        self._server.stop(grace_s).wait()
