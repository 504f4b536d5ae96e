"""A gRPC endpoint that takes every upsert and keeps nothing; for the floor alone."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import grpc
from qdrant_client.grpc import points_pb2


def serve(port: int) -> grpc.Server:
    """A running server that answers ``/qdrant.Points/Upsert`` with nothing to say."""
    answer = points_pb2.PointsOperationResponse().SerializeToString()
    handler = grpc.method_handlers_generic_handler(
        "qdrant.Points",
        {
            "Upsert": grpc.unary_unary_rpc_method_handler(
                lambda _request, _context: answer
            )
        },
    )
    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(2), options=options)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    serve(parser.parse_args().port).wait_for_termination()
