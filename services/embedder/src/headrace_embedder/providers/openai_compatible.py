"""Any endpoint that speaks OpenAI's embeddings API.

The SDK does addresses, authentication and errors; its own retries are off and its
response models are not used (they cost several times the rest of the call).

Before its first call a provider is asked for one text a few times. That shows whether
the key and the model are right, whether the ``dimensions`` parameter is needed (many
servers refuse it), and whether vectors come right as base64: some servers ignore the
parameter, others answer short or zero vectors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx2
import msgspec
from openai import AsyncOpenAI, OpenAIError

from headrace.errors import SharedFailure
from headrace_embedder.providers import answers, openai_errors
from headrace_embedder.providers.answers import Encoding, Expected
from headrace_embedder.providers.http_transport import http_client
from headrace_embedder.providers.port import Rejected, Unclear

PROBE_TEXT = "A headrace brings water to a mill wheel."


class OpenAICompatibleProvider:
    """See ``EmbeddingProvider``; one HTTP client for its whole life."""

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        model: str,
        dimensions: int,
        max_texts: int = 1000,
        max_tokens: int = 250_000,
    ) -> None:
        self.max_texts = max_texts
        self.max_tokens = max_tokens
        self._model = model
        self._dimensions = dimensions
        self._client = AsyncOpenAI(
            base_url=base_url,
            # Servers of one's own often want none, but the SDK insists on one.
            api_key=api_key or "none",
            max_retries=0,
            http_client=http_client(),
        )
        self._encoding: Encoding | None = None
        self._send_dimensions = False
        self._probing = asyncio.Lock()

    @property
    def encoding(self) -> Encoding | None:
        """How vectors travel; ``None`` before the first call."""
        return self._encoding

    async def embed(self, texts: Sequence[str], *, deadline: float) -> list[bytes]:
        """See ``EmbeddingProvider.embed``."""
        try:
            async with asyncio.timeout(deadline):
                encoding = self._encoding or await self._probe()
                return await self._ask(texts, encoding, self._dimensions)
        except TimeoutError as error:
            raise Unclear(
                "provider_timeout", f"no answer within {deadline:g} s"
            ) from error

    async def close(self) -> None:
        """See ``EmbeddingProvider.close``; connections in use are closed too."""
        await self._client.close()

    async def _probe(self) -> Encoding:
        async with self._probing:
            if self._encoding is not None:
                return self._encoding
            try:
                self._encoding = await self._probed()
            except Rejected as error:
                raise SharedFailure(
                    "provider_misconfigured",
                    f"the provider refuses even a plain text: {error.message}; "
                    "check OPENAI_BASE_URL and HEADRACE_EMBEDDING_MODEL",
                    retry_after=openai_errors.CONFIGURATION_RETRY_S,
                ) from error
            return self._encoding

    async def _probed(self) -> Encoding:
        texts = [PROBE_TEXT]
        self._send_dimensions = False
        [plain] = await self._ask(texts, Encoding.FLOAT, None)
        if len(plain) != self._dimensions * 4:
            self._send_dimensions = True
            plain = await self._shortened(texts, answers.dimensions_of([plain]))
        try:
            [other] = await self._ask(texts, Encoding.BASE64, self._dimensions)
        except (Rejected, Unclear):
            return Encoding.FLOAT
        return Encoding.BASE64 if answers.agree(plain, other) else Encoding.FLOAT

    async def _shortened(self, texts: list[str], native: int) -> bytes:
        """The probe's vector where the model's own size is not the configured one."""
        try:
            [plain] = await self._ask(texts, Encoding.FLOAT, None)
        except Rejected:
            size = native
        else:
            size = answers.dimensions_of([plain])
            if size == self._dimensions:
                return plain
        raise SharedFailure(
            "provider_misconfigured",
            f"model {self._model} gives {size} dimensions, but "
            f"HEADRACE_EMBEDDING_DIMENSIONS is {self._dimensions}; set it to {size}, "
            "or choose another model",
            retry_after=openai_errors.CONFIGURATION_RETRY_S,
        )

    async def _ask(
        self, texts: Sequence[str], encoding: Encoding, dimensions: int | None
    ) -> list[bytes]:
        request: dict[str, object] = {
            "model": self._model,
            "input": texts,
            "encoding_format": encoding,
        }
        if self._send_dimensions:
            request["dimensions"] = self._dimensions
        try:
            response = await self._client.post(
                "/embeddings",
                content=msgspec.json.encode(request),
                options={"headers": {"Content-Type": "application/json"}},
                cast_to=httpx2.Response,
            )
        except OpenAIError as error:
            raise openai_errors.classify(error) from error
        expected = Expected(len(texts), dimensions)
        vectors: list[bytes] = []
        for part in answers.decode(response.content, encoding, expected):
            if vectors:
                await asyncio.sleep(0)
            vectors += part
        return vectors
