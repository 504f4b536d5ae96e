"""``headrace ingest``: send documents to a pipeline that runs."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace_cli import options


def ingest(
    *,
    paths: options.Paths,
    collection: options.Collection,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    tenant: options.Tenant = "default",
    lane: options.Lane = options.LaneOption.BULK,
    delete_missing: options.DeleteMissing = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all are in a final state.")
    ] = False,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Send files, folders and URLs to a running stack, or to any Kafka.

    The stack that runs on the data directory is used, else the Kafka that
    KAFKA_BOOTSTRAP_SERVERS names.
    """
    from headrace_cli.ingesting import Ingestion
    from headrace_cli.performing import perform
    from headrace_cli.sending import ingest_once

    ingestion = Ingestion(
        names=paths,
        collection=collection,
        tenant=tenant,
        lane=lane,
        delete_missing=delete_missing,
        timeout_s=timeout,
    )
    perform(
        lambda output: ingest_once(
            ingestion, data_dir=data_dir, wait=wait, output=output
        ),
        as_json=as_json,
    )
