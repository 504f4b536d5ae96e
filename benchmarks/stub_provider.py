"""An OpenAI-compatible endpoint that answers at once, for measuring its clients.

Vectors mean nothing; they are unit vectors so that validation passes. The answer for
each batch size is built once, so that the stub costs little on the same machine.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct

from aiohttp import web

DIMENSIONS = 1536


def _vector(seed: int, dimensions: int) -> list[float]:
    values = [((seed * 31 + i * 7) % 97) - 48.0 for i in range(dimensions)]
    norm = sum(value * value for value in values) ** 0.5
    return [value / norm for value in values]


def _answer(count: int, dimensions: int, *, as_base64: bool) -> bytes:
    data = []
    for index in range(count):
        vector: object = _vector(0, dimensions)
        if as_base64:
            packed = struct.pack(f"<{dimensions}f", *_vector(0, dimensions))
            vector = base64.b64encode(packed).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": count, "total_tokens": count}
    body = {"object": "list", "data": data, "model": "stub", "usage": usage}
    return json.dumps(body).encode()


def application(dimensions: int = DIMENSIONS) -> web.Application:
    """The endpoint ``POST /v1/embeddings``."""
    answers: dict[tuple[int, bool], bytes] = {}

    async def embeddings(request: web.Request) -> web.Response:
        body = await request.json()
        texts = body["input"]
        count = 1 if isinstance(texts, str) else len(texts)
        shape = (count, body.get("encoding_format") == "base64")
        if shape not in answers:
            answers[shape] = _answer(count, dimensions, as_base64=shape[1])
        return web.Response(body=answers[shape], content_type="application/json")

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/embeddings", embeddings)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    web.run_app(
        application(),
        host="127.0.0.1",
        port=arguments.port,
        print=None,
        access_log=None,
    )
