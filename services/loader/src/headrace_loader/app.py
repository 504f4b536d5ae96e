"""Builds the loader; nothing is constructed anywhere else."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from headrace.errors import SharedFailure
from headrace.lifecycle import StageContext
from headrace.objects import Objects
from headrace.qdrant import QdrantStore
from headrace.store import CollectionSpec
from headrace_loader.acceptance import Acceptance
from headrace_loader.extractors.source import Limits
from headrace_loader.handler import LoaderHandler
from headrace_loader.loading import Loading, Sources
from headrace_loader.parking import Parking
from headrace_loader.sandbox.pool import ParserLimits, ParserPool
from headrace_loader.settings import LoaderSettings
from headrace_loader.sources.files import FileSource
from headrace_loader.sources.guard import GuardedBackend, GuardedTransport
from headrace_loader.sources.urls import UrlSource
from headrace_loader.unparking import Unparking
from headrace_loader.workspace import Workspace

_PORTS = (80, 443)


async def build(context: StageContext[LoaderSettings]) -> LoaderHandler:
    """The loader's handler."""
    settings = context.settings
    workspace = _workspace(settings)
    objects = Objects.from_settings(settings)
    acceptance = Acceptance(
        QdrantStore.from_settings(settings), spec=CollectionSpec.of(settings.model)
    )
    parking = Parking(
        topology=context.topology,
        producer=context.producer,
        status=context.status,
        clock=context.clock,
        control=context.control,
    )
    unparking = Unparking(settings, parking=parking)
    handler = LoaderHandler(
        topology=context.topology,
        fingerprint=settings.fingerprint,
        producer=context.producer,
        status=context.status,
        clock=context.clock,
        loading=Loading(
            workspace=workspace,
            sources=Sources(
                files=FileSource(
                    settings.file_roots, max_bytes=settings.max_source_bytes
                ),
                urls=url_source(settings),
                objects=objects,
            ),
            parsers=parser_pool(settings, workspace),
            at_once=settings.loads_at_once,
            max_bytes=settings.max_source_bytes,
        ),
        acceptance=acceptance,
        objects=objects,
        parking=parking,
        unparking=unparking,
    )
    # Last: whoever fails before it leaves nobody behind who moves events.
    unparking.start()
    return handler


def _workspace(settings: LoaderSettings) -> Workspace:
    """Temporary files; a disk that is full may have room again."""
    try:
        return Workspace(settings.work_dir)
    except OSError as error:
        raise SharedFailure(
            "work_dir_unavailable",
            f"HEADRACE_WORK_DIR {settings.work_dir} cannot be used: {error.strerror}",
        ) from error


def url_source(settings: LoaderSettings) -> UrlSource:
    """Fetching by URL, guarded."""
    ports = (*_PORTS, *settings.url_ports)
    backend = GuardedBackend(
        ports=ports,
        private_hosts=settings.url_allow_private_hosts,
        denied_hosts=own_hosts(settings),
    )
    return UrlSource(
        GuardedTransport(backend, ssl_context=httpx.create_ssl_context()),
        ports=ports,
        max_bytes=settings.max_source_bytes,
        total_s=settings.fetch_s,
        connect_s=settings.connect_s,
        max_redirects=settings.max_redirects,
    )


def parser_pool(settings: LoaderSettings, workspace: Workspace) -> ParserPool:
    """The parser children, none of them started."""
    return ParserPool(
        workspace,
        size=settings.parsers,
        limits=ParserLimits(
            memory_bytes=settings.parser_memory_bytes,
            cpu_s=settings.parser_cpu_s,
            wall_s=settings.parser_wall_s,
            text_bytes=settings.max_text_bytes,
            documents=settings.parser_documents,
            extraction=Limits(
                unpacked_bytes=settings.max_unpacked_bytes,
                archive_members=settings.max_archive_members,
                archive_ratio=settings.max_archive_ratio,
            ),
        ),
    )


def own_hosts(settings: LoaderSettings) -> list[str]:
    """Where our own broker and store are: no document comes from there."""
    brokers = [
        server.strip().rpartition(":")[0]
        for server in settings.kafka_bootstrap_servers.split(",")
    ]
    return [*filter(None, brokers), urlsplit(settings.qdrant_url).hostname or ""]
