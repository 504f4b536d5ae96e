"""What the routes work with; made by ``app``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from headrace.clock import Clock
from headrace.database.recoveries import Recoveries
from headrace.metrics import GatewayMetrics
from headrace_gateway.admission import Admission
from headrace_gateway.ahead import Ahead
from headrace_gateway.audit import Audit
from headrace_gateway.authentication import Authenticator
from headrace_gateway.feeder import Feeder
from headrace_gateway.intake import Intake
from headrace_gateway.jobs import Jobs
from headrace_gateway.pauses import Pauses
from headrace_gateway.records import Records
from headrace_gateway.relay import Relay
from headrace_gateway.searcher import Searcher
from headrace_gateway.settings import GatewaySettings
from headrace_gateway.states import States
from headrace_gateway.status_feed import StatusFeed
from headrace_gateway.uploads import Uploads


@dataclass(frozen=True, kw_only=True)
class Parts:
    """One of each per process."""

    settings: GatewaySettings
    clock: Clock
    metrics: GatewayMetrics
    authenticator: Authenticator
    admission: Admission
    intake: Intake
    uploads: Uploads
    pauses: Pauses
    records: Records
    states: States
    recoveries: Recoveries
    relay: Relay
    audit: Audit
    jobs: Jobs
    feeder: Feeder
    ahead: Ahead
    searcher: Searcher
    feed: StatusFeed
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is to end: streams that would go on for ever end then."""
