"""Submits a document through the gateway, waits for it, finds it, deletes it.

Runs in the gateway's image as ``helm test``, with the seconds it may take; leaves
nothing behind.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid

from headrace.client import HeadraceClient

_ENDS = {"indexed", "indexed_with_errors", "failed"}


async def _state(client: HeadraceClient, document: str, wanted: set[str]) -> str:
    """The document's state, once it is one of these."""
    while True:
        state = (await client.get(document)).state
        if state in wanted:
            return state
        await asyncio.sleep(0.5)


async def _tried(client: HeadraceClient, collection: str) -> None:
    accepted = await client.add(
        collection=collection,
        name="helm-test.txt",
        text="A headrace brings water to a mill wheel, at the rate the wheel can take.",
    )
    _say(f"submitted {accepted.id}")
    try:
        state = await _state(client, accepted.id, _ENDS)
        if state != "indexed":
            error = (await client.get(accepted.id)).error
            sys.exit(f"it is {state}: {error}")
        _say("indexed")
        hits = await client.search("what drives the wheel?", collection=collection)
        if accepted.id not in {hit.document for hit in hits}:
            sys.exit(f"the search does not find it, but {hits}")
        _say("found")
    finally:
        await client.delete(accepted.id)
    await _state(client, accepted.id, {"deleted"})
    _say("deleted")


async def _main() -> None:
    seconds = float(sys.argv[1])
    url = os.environ["HEADRACE_GATEWAY_URL"]
    key = os.environ.get("HEADRACE_API_KEY", "")
    collection = f"helm-test-{uuid.uuid4().hex[:8]}"
    try:
        async with (
            asyncio.timeout(seconds),
            HeadraceClient(url, key=key) as client,
        ):
            await _tried(client, collection)
    except TimeoutError:
        sys.exit(
            f"not done after {seconds:.0f} s: `kubectl get pods` tells which stage is "
            "not ready, its /readyz says why"
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main())
