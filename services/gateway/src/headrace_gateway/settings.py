"""Settings of the gateway."""

from __future__ import annotations

from typing import Literal

from headrace_embedder.settings import ProviderSettings
from pydantic import Field, model_validator

from headrace.database.settings import DatabaseSettings

MIB = 1024 * 1024


class GatewaySettings(ProviderSettings, DatabaseSettings):
    """The gateway's own; the provider is asked for the vectors of queries only."""

    http_host: str = Field("127.0.0.1", description="Where the API listens.")
    http_port: int = Field(8080, ge=0, le=65535, description="0: any free port.")
    http_file: str = Field(
        "", description="Written with host:port once the API listens; for `up`."
    )
    admin_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of /v1/admin alone, on the same host; 0: with the API.",
    )
    probe_host: str = Field(
        "127.0.0.1", description="Where /livez, /readyz and /metrics listen."
    )
    probe_port: int = Field(0, ge=0, le=65535, description="0: any free port.")
    probe_file: str = Field(
        "", description="Written with host:port once the probes listen; for `up`."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Of the JSON logs on standard output."
    )
    drain_s: float = Field(
        25.0, gt=0, description="Budget after SIGTERM; grace period = this + 5 s."
    )

    auth_mode: Literal["", "keys", "oidc", "none"] = Field(
        "",
        description="Who may call: holders of API keys, of tokens of an OpenID "
        "provider, or everybody. Without it the gateway does not start.",
    )
    oidc_issuer: str = Field("", description="What tokens must have as iss.")
    oidc_audience: str = Field("", description="What tokens must have in aud.")
    oidc_jwks_url: str = Field(
        "", description="The issuer's keys; empty: as its discovery document says."
    )
    oidc_algorithms: list[str] = Field(
        default_factory=lambda: ["RS256", "ES256"],
        description="JSON list of signatures that are taken; only with public keys.",
    )
    oidc_tenant_claim: str = Field(
        "tenant", description="Claim that names the tenant; a token without it fails."
    )
    oidc_scope_claim: str = Field(
        "scope",
        description="Claim with the words headrace:read, headrace:write, "
        "headrace:admin and headrace:operator.",
    )

    max_upload_bytes: int = Field(
        512 * MIB, ge=1, description="Of one uploaded file; larger ones get 413."
    )
    max_json_bytes: int = Field(
        4 * MIB, ge=1024, description="Of a JSON body, and of one line of an import."
    )
    read_s: float = Field(
        30.0,
        gt=0,
        description="Without a byte of the body for this long: 408; without a whole "
        "head, the connection ends.",
    )
    accepting: int = Field(
        50, ge=1, description="Documents being accepted at once; beyond it 503."
    )
    tenant_accepting: int = Field(
        40, ge=1, description="Of these, of one tenant; beyond it 429."
    )
    tenant_requests_per_s: float = Field(
        0.0, ge=0, description="Mean rate of one tenant's requests; 0: no limit."
    )
    tenant_burst: int = Field(
        200, ge=1, description="Requests of one tenant above its mean rate."
    )
    tenant_unfinished: int = Field(
        0,
        ge=0,
        description="Documents of one tenant on their way; beyond it 429. 0: no limit.",
    )
    admit_age_s: float = Field(
        300.0,
        gt=0,
        description="When the oldest event that the loader has not read waits longer, "
        "uploads get 503; imports wait.",
    )
    outbox_age_s: float = Field(
        10.0,
        gt=0,
        description="When an accepted event has not reached Kafka for this long, "
        "uploads get 503.",
    )
    retry_after_s: int = Field(5, ge=1, description="What Retry-After says at least.")
    sweep_every_s: float = Field(
        600.0, gt=0, description="Between two looks for orphans."
    )
    orphan_age_s: float = Field(
        3600.0,
        # An upload's last statement may take a minute, and it may wait for others.
        ge=600,
        description="Stored bytes without a record are removed at this age; an upload "
        "that takes half as long gets 408.",
    )

    history_days: int = Field(
        30,
        ge=1,
        description="What has ended is kept so long: imports, and deleted documents; "
        "longer than HEADRACE_RETENTION_HOURS.",
    )

    @model_validator(mode="after")
    def _history_outlives_events(self) -> GatewaySettings:
        if self.history_days * 24 <= self.retention_hours:
            raise ValueError(
                "HEADRACE_HISTORY_DAYS must be longer than HEADRACE_RETENTION_HOURS: "
                "Kafka may still hold events of what would be forgotten"
            )
        return self

    @model_validator(mode="after")
    def _auth_is_decided(self) -> GatewaySettings:
        if not self.auth_mode:
            raise ValueError(
                "HEADRACE_AUTH_MODE must be keys, oidc or none; none lets everybody "
                "read and write"
            )
        if self.auth_mode == "oidc" and not (self.oidc_issuer and self.oidc_audience):
            raise ValueError(
                "HEADRACE_AUTH_MODE is oidc: HEADRACE_OIDC_ISSUER and "
                "HEADRACE_OIDC_AUDIENCE must be set"
            )
        weak = [name for name in self.oidc_algorithms if name[:2] not in _PUBLIC]
        if weak or not self.oidc_algorithms:
            raise ValueError(
                "HEADRACE_OIDC_ALGORITHMS must name RS*, PS*, ES* or Ed* signatures "
                "only: with others whoever knows the public key could sign"
            )
        return self


_PUBLIC = ("RS", "PS", "ES", "Ed")
