"""The loader's own settings: sources, limits, parsers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from pydantic import Field, field_validator

from headrace.settings import StageSettings

MIB = 1024 * 1024


class LoaderSettings(StageSettings):
    """Limits are of one document unless they say otherwise."""

    work_dir: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()) / "headrace-loader",
        description="For temporary files; needs room for loads_at_once sources.",
    )

    file_roots: list[Path] = Field(
        default_factory=list,
        description="JSON list of directories below which file: URLs may be read.",
    )
    url_ports: list[int] = Field(
        default_factory=list, description="JSON list of ports allowed beside 80, 443."
    )
    url_allow_private_hosts: list[str] = Field(
        default_factory=list,
        description="JSON list of host names that may have private addresses.",
    )
    max_source_bytes: int = Field(
        200 * MIB, ge=1, description="Of a document, unpacked from its transfer coding."
    )
    fetch_s: float = Field(60.0, gt=0, description="To fetch a document, in all.")
    connect_s: float = Field(10.0, gt=0, description="To connect to its host.")
    max_redirects: int = Field(
        5, ge=0, le=20, description="Followed for one URL, each checked like the first."
    )

    loads_at_once: int = Field(
        default_factory=lambda: min(32, max(4, 2 * (os.cpu_count() or 1))),
        ge=1,
        description="Documents fetched or parsed at a time, in the process.",
    )
    parsers: int = Field(
        default_factory=lambda: min(8, (os.cpu_count() or 1) + 1),
        ge=1,
        description="Parser children at most; each is started when it is needed.",
    )
    parser_memory_bytes: int = Field(
        1024 * MIB, ge=256 * MIB, description="Address space of a parser child."
    )
    parser_cpu_s: int = Field(60, ge=1, description="CPU time to parse a document.")
    parser_wall_s: float = Field(120.0, gt=0, description="Time to parse a document.")
    parser_documents: int = Field(
        200, ge=1, description="After so many a parser child is replaced."
    )
    max_text_bytes: int = Field(100 * MIB, ge=1, description="Of the text found.")
    max_unpacked_bytes: int = Field(
        512 * MIB, ge=1, description="Of the members of a zip container together."
    )
    max_archive_members: int = Field(
        10_000, ge=1, description="Of a zip container such as DOCX or EPUB."
    )
    max_archive_ratio: int = Field(
        200, ge=2, description="Of a member's size to its packed size, over 1 MiB."
    )

    @field_validator("file_roots")
    @classmethod
    def _absolute(cls, roots: list[Path]) -> list[Path]:
        for root in roots:
            if not root.is_absolute():
                raise ValueError(f"{root} is not an absolute path")
        return roots

    @field_validator("url_ports")
    @classmethod
    def _ports(cls, ports: list[int]) -> list[int]:
        for port in ports:
            if not 0 < port < 65536:
                raise ValueError(f"{port} is not a port")
        return ports
