"""Run the local store until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from headrace_local.store.catalog import Catalog, DirectoryInUse
from headrace_local.store.server import Server

_FLUSH_S = 5.0
"""Bounds what a restart has to read again from the logs."""
_GRACE_S = 5.0
EXIT_CONFIGURATION = 78

_log = logging.getLogger("headrace_local.store")


def main(arguments: list[str] | None = None) -> int:
    """Answers the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        catalog = Catalog(options.data_dir)
    except (DirectoryInUse, OSError) as error:
        _log.error("%s", error)
        return EXIT_CONFIGURATION
    try:
        return _serve(catalog, options, ended)
    finally:
        catalog.close()


def _serve(
    catalog: Catalog, options: argparse.Namespace, ended: threading.Event
) -> int:
    server = Server(catalog, host=options.host, port=options.port)
    try:
        address = server.start()
    except RuntimeError as error:
        _log.error(
            "cannot listen on %s:%d (%s); give another --port",
            options.host,
            options.port,
            error,
        )
        return EXIT_CONFIGURATION
    _log.info("listening on %s, data in %s", address, options.data_dir)
    if options.ready_file:
        partly = options.ready_file.with_suffix(".partly")
        partly.write_text(address)
        partly.replace(options.ready_file)
    while not ended.wait(_FLUSH_S):
        catalog.flush()
    server.stop(_GRACE_S)
    _log.info("stopped")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headrace_local.store",
        description="A vector store for one machine that speaks Qdrant's gRPC API.",
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True, help="0: any free port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--ready-file", type=Path, help="written with host:port once it answers"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
