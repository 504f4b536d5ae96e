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
    Produced,
    ProducedDetail,
    ProducedPage,
    Progress,
    Queue,
    StageReport,
)
from headrace.client.errors import ApiError
from headrace.client.gateway import HeadraceClient, OnConflict
from headrace.client.listening import Change, Overrun

__all__ = [
    "Accepted",
    "ApiError",
    "Change",
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
    "Overrun",
    "Produced",
    "ProducedDetail",
    "ProducedPage",
    "Progress",
    "Queue",
    "StageReport",
]
