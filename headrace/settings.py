"""Settings every stage shares, read from the environment.

A variable is the field's name in capitals with the prefix ``HEADRACE_``, except where
``validation_alias`` names a variable that users know from elsewhere. A bad value ends
the process with status 78 and names the variable (``lifecycle.load_settings``).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.fingerprint import ChunkingSettings, ModelSettings, fingerprint
from headrace.topology import DAY_MS, Topology


class Settings(BaseSettings):
    """What all stages and the CLI must agree on."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_", extra="ignore", populate_by_name=True
    )

    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092",
        validation_alias="KAFKA_BOOTSTRAP_SERVERS",
        description="Brokers, host:port separated by commas.",
    )
    kafka_security_protocol: Literal[
        "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"
    ] = Field(
        "PLAINTEXT",
        validation_alias="KAFKA_SECURITY_PROTOCOL",
        description="Whether the connection is encrypted, and whether one signs in.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512",
        validation_alias="KAFKA_SASL_MECHANISM",
        description="How one signs in, with a SASL protocol.",
    )
    kafka_username: str = Field(
        "", validation_alias="KAFKA_USERNAME", description="For SASL."
    )
    kafka_password: SecretStr = Field(
        SecretStr(""), validation_alias="KAFKA_PASSWORD", description="For SASL."
    )
    kafka_ca_file: str = Field(
        "", validation_alias="KAFKA_CA_FILE", description="PEM file; empty: system's."
    )
    kafka_cert_file: str = Field(
        "",
        validation_alias="KAFKA_CERT_FILE",
        description="PEM file of the client's certificate, for mutual TLS.",
    )
    kafka_key_file: str = Field(
        "", validation_alias="KAFKA_KEY_FILE", description="PEM file of its key."
    )

    qdrant_url: str = Field(
        "http://127.0.0.1:6334",
        validation_alias="QDRANT_URL",
        description="gRPC endpoint of Qdrant or of the local store.",
    )
    qdrant_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias="QDRANT_API_KEY",
        description="Sent with every call; empty: none.",
    )
    qdrant_replication_factor: int = Field(
        1, ge=1, description="Copies of each collection, on a Qdrant cluster."
    )

    object_store_url: str = Field(
        "file:///var/lib/headrace/objects",
        description="Where large texts and letters go: file://, s3://, gs:// or az://.",
    )

    object_store_allow_http: bool = Field(
        False,
        description="Whether an object store may be reached without TLS (MinIO).",
    )
    object_roots: list[str] = Field(
        default_factory=list,
        description="JSON list of s3://, gs:// or az:// prefixes that events may name.",
    )

    topic_prefix: str = Field(
        "headrace", description="Of all topics and consumer groups."
    )
    partitions: int = Field(6, ge=1, description="Of texts, chunks and vectors.")
    document_partitions: int = Field(6, ge=1, description="Of documents.")
    retention_hours: int = Field(
        168, ge=1, description="Of data topics; longer outages lose unread records."
    )

    embedding_provider: Literal["local", "openai", "hash"] = Field(
        "local", description="hash is for tests only: its vectors mean nothing."
    )
    embedding_model: str = Field(
        "all-MiniLM-L6-v2", description="As the provider names it."
    )
    embedding_model_revision: str = Field(
        "1",
        description="Change it when the provider changes what is behind the name.",
    )
    embedding_dimensions: int = Field(
        384, ge=1, le=4096, description="Of a vector; the provider is checked at start."
    )
    document_prefix: str = Field(
        "", description="Put before each chunk, where the model wants it."
    )
    query_prefix: str = Field(
        "", description="Put before each query, where the model wants it."
    )

    tokenizer: Literal["minilm", "cl100k_base", "o200k_base"] = Field(
        "minilm", description="The embedding model's; sizes below are in its tokens."
    )
    chunk_prose_tokens: int = Field(
        240, ge=16, le=8192, description="Of a chunk of prose, at most."
    )
    chunk_prose_overlap: int = Field(
        24, ge=0, description="Tokens that a chunk of prose repeats of the one before."
    )
    chunk_code_tokens: int = Field(
        240, ge=16, le=8192, description="Of a chunk of source code, at most."
    )
    chunk_table_tokens: int = Field(
        240, ge=16, le=8192, description="Of a chunk of table rows, at most."
    )
    chunk_whole_tokens: int = Field(
        240, ge=0, description="Documents up to this many tokens stay one chunk."
    )

    @model_validator(mode="after")
    def _overlap_below_size(self) -> Settings:
        if self.chunk_prose_overlap * 2 > self.chunk_prose_tokens:
            raise ValueError(
                "HEADRACE_CHUNK_PROSE_OVERLAP must be at most half of "
                "HEADRACE_CHUNK_PROSE_TOKENS"
            )
        return self

    @property
    def topology(self) -> Topology:
        """Topic and group names, and the topics' wanted shape."""
        return Topology(
            prefix=self.topic_prefix,
            partitions=self.partitions,
            document_partitions=self.document_partitions,
            retention_ms=self.retention_hours * DAY_MS // 24,
        )

    @property
    def chunking(self) -> ChunkingSettings:
        """What the chunker works by."""
        return ChunkingSettings(
            tokenizer=self.tokenizer,
            prose_tokens=self.chunk_prose_tokens,
            prose_overlap=self.chunk_prose_overlap,
            code_tokens=self.chunk_code_tokens,
            table_tokens=self.chunk_table_tokens,
            whole_tokens=self.chunk_whole_tokens,
        )

    @property
    def model(self) -> ModelSettings:
        """What decides a vector."""
        return ModelSettings(
            provider=self.embedding_provider,
            model=self.embedding_model,
            model_revision=self.embedding_model_revision,
            dimensions=self.embedding_dimensions,
            document_prefix=self.document_prefix,
            query_prefix=self.query_prefix,
        )

    @property
    def fingerprint(self) -> str:
        """Fingerprint of everything these settings produce."""
        return fingerprint(self.chunking, self.model)


class StageSettings(Settings):
    """What each of the four stages has beside its own settings."""

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
    session_timeout_s: float = Field(
        10.0, ge=6, description="After this the group takes a dead member's partitions."
    )
    rebalance_timeout_s: float = Field(
        20.0, gt=0, description="Members that have not rejoined by then are left out."
    )
    drain_s: float = Field(
        25.0, gt=0, description="Budget after SIGTERM; grace period = this + 5 s."
    )
    concurrency: int = Field(
        256,
        ge=1,
        description="Records worked on at once: many share a request to Kafka, store "
        "or provider.",
    )
    max_in_flight_records: int = Field(256, ge=1, description="Of one partition.")
    max_in_flight_bytes: int = Field(
        64 * 1024 * 1024, ge=1, description="Of the whole process."
    )
    attempts: int = Field(3, ge=1, description="For a document's own failures.")
    backoff_s: float = Field(
        2.0, gt=0, description="First wait; doubles to 30 s, in an outage to 10 s."
    )
    stuck_after_s: float = Field(
        600.0,
        gt=0,
        description="Not ready when a partition with work has not moved for this long; "
        "more than a document may take.",
    )
    ahead_high_records: int = Field(
        2000, ge=1, description="Pause a partition when the next stage is this behind."
    )
    ahead_low_records: int = Field(1000, ge=0, description="Resume below this.")
    max_replicas: int = Field(
        6, ge=1, description="Wanted replicas never exceed this, nor the partitions."
    )
    target_drain_s: float = Field(60.0, gt=0, description="Lag to be gone in this.")
