"""What is set for the registry alone."""

from __future__ import annotations

from pydantic import Field

from headrace.database.settings import DatabaseSettings
from headrace.settings import StageSettings


class RegistrySettings(DatabaseSettings, StageSettings):
    """Settings of the registry."""

    merge_records: int = Field(
        200, ge=1, le=1000, description="Statuses merged in one SQL transaction."
    )
    reconcile_every_s: float = Field(
        300.0, gt=0, description="Seconds between two looks for stale documents."
    )
    stale_after_s: float = Field(
        120.0,
        gt=0,
        description="A document without a heartbeat for this long is stale.",
    )
    requeues: int = Field(
        3, ge=0, description="Times a stale document is queued again before it fails."
    )
    rate_window_s: int = Field(
        60, ge=1, description="Rates per collection are those of a window this long."
    )
