"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA_DIR = Path(".headrace")


class LaneOption(StrEnum):
    """Which queue documents take."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class OnConflictOption(StrEnum):
    """What becomes of a document whose name is taken."""

    FAIL = "fail"
    REPLACE = "replace"
    NEW_VERSION = "new-version"


class ProviderOption(StrEnum):
    """Who makes the vectors."""

    LOCAL = "local"
    OPENAI = "openai"
    HASH = "hash"


class StageOption(StrEnum):
    """One of the four stages."""

    LOADER = "loader"
    CHUNKER = "chunker"
    EMBEDDER = "embedder"
    INDEXER = "indexer"


DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        "-d",
        envvar="HEADRACE_DATA_DIR",
        help="Where the local stack keeps its data.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]
Collection = Annotated[
    str, typer.Option("--collection", "-c", help="Name of the collection.")
]
Tenant = Annotated[str, typer.Option(help="Whose documents they are.")]
Lane = Annotated[
    LaneOption, typer.Option(help="interactive overtakes bulk in every stage.")
]
Paths = Annotated[
    list[str], typer.Argument(help="Files, folders and URLs.", show_default=False)
]
DeleteMissing = Annotated[
    bool,
    typer.Option(
        "--delete-missing",
        help="Delete documents that were below the named folders and are gone.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(min=1, help="Give up waiting after this many seconds."),
]
Provider = Annotated[
    ProviderOption | None,
    typer.Option(help="Who makes the vectors; hash is for tests only."),
]
Gateway = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        "--url",
        envvar=["HEADRACE_GATEWAY", "HEADRACE_GATEWAY_URL"],
        help="URL of the gateway; without it, that of the stack on --data-dir.",
        show_default=False,
    ),
]
AdminUrl = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        "--url",
        envvar=["HEADRACE_ADMIN_URL", "HEADRACE_GATEWAY", "HEADRACE_GATEWAY_URL"],
        help="URL of the gateway, or of its port for /v1/admin where that is another; "
        "without it, that of the stack on --data-dir.",
        show_default=False,
    ),
]
ApiKey = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="HEADRACE_API_KEY",
        help="API key or token; better in the environment.",
    ),
]
Partitions = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Of new topics; existing ones keep theirs."),
]
