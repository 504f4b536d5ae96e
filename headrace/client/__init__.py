"""A client of the gateway's API, for Python programs: ``HeadraceClient``.

Needs the extra ``headrace[client]``. Every refusal is an ``ApiError``.
"""

from headrace.client.answers import (
    Accepted,
    Document,
    DocumentDetail,
    DocumentPage,
    Failure,
    Health,
    Hit,
    Hits,
    ImportItem,
    ImportItems,
    ImportJob,
    Progress,
    Queue,
    StageReport,
)
from headrace.client.errors import ApiError
from headrace.client.gateway import HeadraceClient, OnConflict

__all__ = [
    "Accepted",
    "ApiError",
    "Document",
    "DocumentDetail",
    "DocumentPage",
    "Failure",
    "HeadraceClient",
    "Health",
    "Hit",
    "Hits",
    "ImportItem",
    "ImportItems",
    "ImportJob",
    "OnConflict",
    "Progress",
    "Queue",
    "StageReport",
]
