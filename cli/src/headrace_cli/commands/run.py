"""``headrace run``: the whole job on one machine."""

from __future__ import annotations

from headrace_cli import options


def run(
    *,
    paths: options.Paths,
    collection: options.Collection,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
    tenant: options.Tenant = "default",
    lane: options.Lane = options.LaneOption.BULK,
    delete_missing: options.DeleteMissing = False,
    provider: options.Provider = None,
    partitions: options.Partitions = None,
    timeout: options.Timeout = None,
    as_json: options.Json = False,
) -> None:
    """Index documents with a stack of its own, and stop it again.

    Starts Kafka, the store and the four services, sends the documents, waits until each
    is in a final state, and stops everything. Run again, it indexes what changed.
    Hidden files and folders are skipped. Exits with 0 only if nothing failed.
    """
    from headrace_cli.ingesting import Ingestion
    from headrace_cli.performing import perform
    from headrace_cli.running import run_job

    ingestion = Ingestion(
        names=paths,
        collection=collection,
        tenant=tenant,
        lane=lane,
        delete_missing=delete_missing,
        timeout_s=timeout,
    )
    overrides: dict[str, object] = {}
    if provider is not None:
        overrides["embedding_provider"] = str(provider)
    if partitions is not None:
        overrides["partitions"] = partitions
    perform(
        lambda output: run_job(
            ingestion, data_dir=data_dir, overrides=overrides, output=output
        ),
        as_json=as_json,
    )
