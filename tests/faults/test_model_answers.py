"""Rows 21 to 24: answers that make no sense, texts no model takes, another model.

The oracle compares every vector with its text's hash (O2): a vector of another text, of
another model, or one that was never right, would be a finding.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise

import numpy as np
import pytest
from headrace_embedder.providers.hash_provider import hash_vector

from headrace.messages import Stage
from headrace.qdrant_payload import HOLE
from tests.faults.commands import replay_all
from tests.faults.harness import Harness, Settled, text_of
from tests.faults.provider import too_long
from tests.faults.reporting import Row
from tests.faults.stack import DIMENSIONS
from tests.support import fake_openai, wrong_answers
from tests.support.eventually import eventually
from tests.support.fake_openai import Fault

PATIENCE_S = 60.0 * 5
BROKEN: dict[str, Fault] = {
    "bad-json": fake_openai.body(b'{"data": [{"index": 0, "embedding": [0.1, nul'),
    "html": fake_openai.html(),
    "truncated": fake_openai.truncated(),
    "no-data": fake_openai.body(b'{"object": "list"}'),
    "empty": fake_openai.changed(wrong_answers.empty),
    "too-few": fake_openai.changed(wrong_answers.one_too_few),
    "too-many": fake_openai.changed(wrong_answers.one_too_many),
    "no-index": fake_openai.changed(wrong_answers.without_index),
    "index-twice": fake_openai.changed(wrong_answers.index_twice),
    "index-out": fake_openai.changed(wrong_answers.index_out_of_range),
}
USELESS: dict[str, Fault] = {
    "dimension": fake_openai.changed(wrong_answers.wrong_dimension),
    "nan": fake_openai.changed(wrong_answers.not_a_number),
    "infinite": fake_openai.changed(wrong_answers.infinite),
    "zero": fake_openai.changed(wrong_answers.zero),
    "quarter": fake_openai.changed(wrong_answers.quarter),
}


def marked(document: str, mark: str) -> str:
    """A text of several chunks, one of which has the mark."""
    return f"{text_of(document, words=60)} {mark}. {text_of(document, 2, words=60)}"


async def load_marked(harness: Harness, marks: dict[str, Fault]) -> None:
    """A document for each mark, among others; the fault comes whenever it is sent."""
    for mark in marks:
        await harness.upsert(mark, marked(mark, f"mark-{mark}"), fails=True)
    await harness.load(10)


async def one_hole_each(harness: Harness, marks: dict[str, Fault]) -> None:
    """The marked chunk alone has no vector; it is a letter, and its siblings live."""
    letters = await harness.dead_letters(Stage.EMBEDDER)
    assert sorted(each.document for each in letters) == sorted(marks)
    for letter in letters:
        assert letter.letter.end_chunk - letter.letter.first_chunk == 1
    for mark in marks:
        points = [
            point
            async for point in harness.store.scroll_points(
                harness.collection, key=harness.key(mark), with_vectors=True
            )
        ]
        holes = [point for point in points if point.payload["state"] == HOLE]
        assert len(points) > 3
        assert len(holes) == 1
        assert f"mark-{mark}" in holes[0].payload["text"]
        assert holes[0].vector is None


async def every_vector_is_right(harness: Harness) -> None:
    """None is of another size, not finite, or of another text."""
    async for point in harness.store.scroll_points(
        harness.collection, with_vectors=True
    ):
        if point.payload["state"] == HOLE:
            continue
        assert point.vector is not None
        found = np.frombuffer(point.vector, dtype="<f4")
        wanted = np.frombuffer(
            hash_vector(point.payload["text"], DIMENSIONS), dtype="<f4"
        )
        assert found.shape == wanted.shape
        assert np.isfinite(found).all()
        assert math.isclose(float(found @ wanted), 1, abs_tol=1e-3)


def tell(row: Row, settled: Settled, over: float) -> None:
    row.result(
        lost=settled.lost,
        duplicates=settled.duplicates,
        recovery_s=max(settled.at - over, 0),
        details=settled.details,
    )


@pytest.mark.row("21", level=2, injected="each senseless answer, for two calls")
async def test_row_21_senseless_answers(harness: Harness, row: Row) -> None:
    provider, over = harness.provider, time.monotonic()
    for name, fault in BROKEN.items():
        before = len(provider.asked)
        provider.script(fault, fault)
        await harness.load(6, prefix=name)
        await eventually(
            lambda before=before: len(provider.asked) >= before + 2,
            patience_s=PATIENCE_S,
        )
        over = time.monotonic()
        await harness.drained()
    settled = await harness.settled(letters=0)
    await every_vector_is_right(harness)
    tell(row, settled, over)


@pytest.mark.row("21", level=2, injected="shuffled answers")
async def test_row_21_shuffled(harness: Harness, row: Row) -> None:
    provider, began = harness.provider, time.monotonic()
    provider.change(wrong_answers.shuffled)
    await harness.load(40, words=60)
    settled = await harness.settled(letters=0)
    # Right as they are, once put in order: nothing is asked for again.
    assert max(provider.sent.values()) == 1
    assert max(len(asked.texts) for asked in provider.asked) > 10
    await every_vector_is_right(harness)
    tell(row, settled, began)


@pytest.mark.row("21", level=2, injected="senseless whenever a text is in the call")
async def test_row_21_senseless_for_a_text(harness: Harness, row: Row) -> None:
    provider, began = harness.provider, time.monotonic()
    provider.poison = {f"mark-{name}.": fault for name, fault in BROKEN.items()}
    await load_marked(harness, BROKEN)
    settled = await harness.settled(letters=len(BROKEN))
    await one_hole_each(harness, BROKEN)
    await every_vector_is_right(harness)
    tell(row, settled, began)


@pytest.mark.row("22", level=2, injected="wrong size, NaN, infinity, zero, a quarter")
@pytest.mark.parametrize("encoding", ["base64", "float"])
async def test_row_22_useless_vectors(
    harness: Harness, row: Row, encoding: str
) -> None:
    provider, began = harness.provider, time.monotonic()
    if encoding == "float":
        # A server that takes no notice of what it is asked for.
        provider.base64 = "ignored"
        await embedder_anew(harness)
    provider.poison = {f"mark-{name}.": fault for name, fault in USELESS.items()}
    await load_marked(harness, USELESS)
    settled = await harness.settled(letters=len(USELESS))
    sent = [asked.encoding for asked in provider.asked if len(asked.texts) > 1]
    assert set(sent) == {encoding}
    await one_hole_each(harness, USELESS)
    await every_vector_is_right(harness)
    tell(row, settled, began)


async def embedder_anew(harness: Harness, **env: str) -> None:
    """Start it again, so that it looks at its provider once more."""
    await harness.stage(Stage.EMBEDDER).restart(env={"ROW": "1", **env}, wait=False)


@pytest.mark.row("22", level=2, injected="base64 of zeros, then of a quarter")
async def test_row_22_base64_as_some_write_it(harness: Harness, row: Row) -> None:
    provider, began = harness.provider, time.monotonic()
    for base64 in ("zero", "short"):
        provider.base64 = base64  # type: ignore[assignment]
        await embedder_anew(harness)
        provider.forget()
        await harness.load(10, prefix=base64)
        await harness.drained()
        sent = {one.encoding for one in provider.asked if len(one.texts) > 1}
        assert sent == {"float"}
    settled = await harness.settled(letters=0)
    await every_vector_is_right(harness)
    tell(row, settled, began)


@pytest.mark.row("22", level=2, injected="a model of another size at start")
async def test_row_22_another_size_at_start(harness: Harness, row: Row) -> None:
    provider = harness.provider
    provider.dimensions, provider.takes_dimensions = DIMENSIONS * 2, False
    await embedder_anew(harness)
    embedder = harness.stage(Stage.EMBEDDER)

    async def told() -> bool:
        reason = str(await embedder.not_ready())
        return reason.startswith("provider_misconfigured: ")

    await eventually(told, patience_s=PATIENCE_S)
    await harness.load(5)
    await eventually(
        lambda: embedder.records(event="provider_called"), patience_s=PATIENCE_S
    )
    assert await harness.letters() == []
    provider.dimensions, provider.takes_dimensions = DIMENSIONS, True
    over = time.monotonic()
    tell(row, await harness.settled(letters=0), over)


@pytest.mark.row("23", level=2, injected="one text over the model's limit in a batch")
async def test_row_23_too_long(harness: Harness, row: Row) -> None:
    provider, began = harness.provider, time.monotonic()
    marks = {"long": too_long()}
    provider.poison = {"mark-long.": too_long()}
    await load_marked(harness, marks)
    await harness.settled(letters=1)
    await one_hole_each(harness, marks)
    await every_vector_is_right(harness)
    assert max(provider.paid.values()) == 1
    sizes = [len(one.texts) for one in provider.asked if one.status == 400]
    assert all(smaller < larger for larger, smaller in pairwise(sizes)), sizes
    # Once a model takes it, its letter is all that has to be sent again.
    provider.heal()
    harness.ledger.expect("long", marked("long", "mark-long"))
    assert await replay_all(harness) == {"resolved": 1}
    tell(row, await harness.settled(letters=0), began)


@pytest.mark.row("24", level=2, injected="another model for chunks on their way")
async def test_row_24_embedder_of_another_model(harness: Harness, row: Row) -> None:
    provider, embedder = harness.provider, harness.stage(Stage.EMBEDDER)
    await harness.load(5)
    await harness.drained()
    await embedder_anew(harness, HEADRACE_EMBEDDING_MODEL="another")
    await harness.load(10, prefix="later")

    async def told() -> bool:
        return str(await embedder.not_ready()).startswith("model_mismatch: ")

    await eventually(told, patience_s=PATIENCE_S)
    assert not [text for text in provider.sent if "later" in text]
    assert await harness.letters() == []
    over = time.monotonic()
    await embedder.restart()
    tell(row, await harness.settled(letters=0), over)


@pytest.mark.row("24", level=2, injected="another dimension on a live collection")
@pytest.mark.parametrize(
    ("stage", "reason"),
    [(Stage.LOADER, "collection_mismatch"), (Stage.INDEXER, "model_mismatch")],
)
async def test_row_24_another_dimension(
    harness: Harness, row: Row, stage: Stage, reason: str
) -> None:
    machine = harness.stage(stage)
    await harness.load(5)
    await harness.drained()
    before = await harness.point_ids()
    await machine.restart(env={"HEADRACE_EMBEDDING_DIMENSIONS": str(DIMENSIONS * 2)})
    await harness.load(5, version=2)
    await harness.load(10, prefix="later")

    async def told() -> bool:
        return str(await machine.not_ready()).startswith(f"{reason}: ")

    await eventually(told, patience_s=PATIENCE_S)
    # Not taken, not mixed in, nobody blamed: it waits for the settings to be mended.
    assert await harness.letters() == []
    assert await harness.point_ids() == before
    over = time.monotonic()
    await machine.restart()
    settled = await harness.settled(letters=0)
    await every_vector_is_right(harness)
    tell(row, settled, over)
