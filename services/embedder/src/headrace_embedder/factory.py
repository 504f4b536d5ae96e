"""Makes the configured provider; for the embedder, the gateway and the CLI."""

from __future__ import annotations

import asyncio

from headrace.errors import ConfigurationError
from headrace_embedder.providers import EmbeddingProvider
from headrace_embedder.settings import ProviderSettings


async def build_provider(settings: ProviderSettings) -> EmbeddingProvider:
    """The provider that the settings name; nothing is asked of it yet.

    Each implementation is imported where it is chosen: the model's runtime and the SDK
    cost memory and seconds that the other one need not pay.

    Raises:
        ConfigurationError: the provider does not have that model or size.
    """
    model = settings.model
    if model.provider == "openai":
        from headrace_embedder.providers.openai_compatible import (  # noqa: PLC0415
            OpenAICompatibleProvider,
        )

        return OpenAICompatibleProvider(
            base_url=settings.openai_base_url,
            api_key=settings.openai_api_key.get_secret_value(),
            model=model.model,
            dimensions=model.dimensions,
        )
    if model.provider == "hash":
        from headrace_embedder.providers.hash_provider import (  # noqa: PLC0415
            HashProvider,
        )

        return HashProvider(dimensions=model.dimensions)
    from headrace_embedder.providers import local_model  # noqa: PLC0415

    if model.model not in local_model.MODELS:
        raise ConfigurationError(
            f"HEADRACE_EMBEDDING_MODEL: the local provider has no {model.model!r}; "
            f"it has {', '.join(local_model.MODELS)}"
        )
    if model.dimensions != local_model.DIMENSIONS:
        raise ConfigurationError(
            f"HEADRACE_EMBEDDING_DIMENSIONS: {model.model} has "
            f"{local_model.DIMENSIONS}, not {model.dimensions}"
        )
    return await asyncio.to_thread(
        local_model.LocalModelProvider, model.model, threads=settings.model_threads
    )
