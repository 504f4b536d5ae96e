"""Settings of the model, shared with whoever embeds queries, and of the embedder."""

from __future__ import annotations

from pydantic import Field, SecretStr, model_validator

from headrace.settings import Settings, StageSettings


class ProviderSettings(Settings):
    """What it takes to reach the model, beside what names it (``Settings.model``)."""

    openai_base_url: str = Field(
        "https://api.openai.com/v1",
        validation_alias="OPENAI_BASE_URL",
        description="Any endpoint that speaks OpenAI's embeddings API.",
    )
    openai_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias="OPENAI_API_KEY",
        description="Each process holds its own; some servers want none.",
    )
    model_threads: int = Field(
        2, ge=1, le=64, description="Threads of the local model, for one text."
    )

    @model_validator(mode="after")
    def _key_where_one_is_needed(self) -> ProviderSettings:
        if (
            self.embedding_provider == "openai"
            and "api.openai.com" in self.openai_base_url
            and not self.openai_api_key.get_secret_value()
        ):
            raise ValueError(
                "OPENAI_API_KEY must be set where HEADRACE_EMBEDDING_PROVIDER is "
                "openai and OPENAI_BASE_URL is OpenAI's own"
            )
        return self


class EmbedderSettings(ProviderSettings, StageSettings):
    """The embedder's own. Limits are of the whole stage, divided over its replicas."""

    embed_calls: int = Field(2, ge=1, le=64, description="Calls in flight.")
    embed_requests_per_minute: int = Field(0, ge=0, description="0: no limit.")
    embed_tokens_per_minute: int = Field(0, ge=0, description="0: no limit.")
    embed_call_deadline_s: float = Field(
        60.0, gt=0, le=600, description="One call, waiting for a connection included."
    )
    embed_batch_deadline_s: float = Field(
        120.0, gt=0, description="All calls of one batch; then it is split."
    )
    embed_batch_min: int = Field(
        10, ge=1, le=1000, description="Texts of one call; slow calls shrink to this."
    )
    embed_batch_max: int = Field(
        200, ge=1, le=1000, description="Texts of one call; quick calls grow to this."
    )
    embed_batch_tokens: int = Field(
        250_000, ge=1, description="Of one call; the provider's bound, with a reserve."
    )
    embed_batch_wait_s: float = Field(
        0.02, ge=0, le=10, description="How long the first text waits for others."
    )
    embed_cache_file: str = Field(
        "", description="Vectors once paid for; empty: in memory, lost at exit."
    )
    embed_cache_bytes: int = Field(
        1024**3, ge=0, description="Largest size of the cache; in memory 64 MiB."
    )
    embed_cache_shared: bool = Field(
        False, description="Whether tenants share vectors of equal texts."
    )

    @model_validator(mode="after")
    def _batch_bounds_in_order(self) -> EmbedderSettings:
        if self.embed_batch_min > self.embed_batch_max:
            raise ValueError(
                "HEADRACE_EMBED_BATCH_MIN must be at most HEADRACE_EMBED_BATCH_MAX"
            )
        return self
