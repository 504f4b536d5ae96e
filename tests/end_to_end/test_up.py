"""``headrace up`` and the commands that talk to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from headrace_cli.documents import Job
from headrace_cli.following import follow
from headrace_cli.outcomes import Outcomes
from headrace_cli.sources import Source
from headrace_local.data_dir import DataDir

from headrace.client import HeadraceClient
from headrace.kafka_clients import reader, send_events
from headrace.messages import State
from headrace.settings import Settings
from tests.support.cli import command, environment, headrace
from tests.support.eventually import eventually

FINAL = {str(state) for state in State if state.final}

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Up:
    """A running ``headrace up``."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    data_dir: Path

    def part(self, name: str) -> psutil.Process | None:
        """The process of a part, if it runs."""
        for child in psutil.Process(self.process.pid).children():
            line = " ".join(child.cmdline())
            if f"headrace_{name}" in line or (
                name == "broker" and "kafka.Kafka" in line
            ):
                return child
        return None


def start(data_dir: Path) -> Up:
    root = data_dir.parent
    process = subprocess.Popen(
        command(
            *("up", "-d", data_dir, "--file-root", root, "--provider", "hash", "--json")
        ),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"it ended with {process.wait()}"
    return Up(process, json.loads(line), data_dir)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = start(tmp_path_factory.mktemp("up") / "data")
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        if running.process.stdout:
            running.process.stdout.close()


def test_it_says_where_everything_is(up: Up) -> None:
    assert up.ready["ready"]
    assert up.ready["kafka"].startswith("127.0.0.1:")
    assert up.ready["qdrant"].startswith("http://127.0.0.1:")
    assert {"loader", "chunker", "embedder", "indexer", "gateway"} <= set(
        up.ready["probes"]
    )
    assert up.ready["gateway"].startswith("http://127.0.0.1:")


async def test_documents_go_in_and_out(up: Up, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The wheel turns.")
    (tmp_path / "large.txt").write_text("Grain. " * 100_000)

    sent = headrace("ingest", tmp_path, "-c", "yard", "-d", up.data_dir, "--wait")
    assert sent.value["failed"] == []
    assert (sent.code, sent.value["accepted"], sent.value["indexed"]) == (0, 2, 2)

    status = headrace("status", "-d", up.data_dir).value
    assert status["documents"] == {"indexed": 2}
    assert {stage["lag"] for stage in status["stages"].values()} == {0}

    def listed() -> set[tuple[str, str]]:
        known = headrace("documents", "list", "-c", "yard", "-d", up.data_dir).value
        return {(each["name"], each["state"]) for each in known["documents"]}

    await eventually(
        lambda: listed() == {("a.txt", "indexed"), ("large.txt", "indexed")}
    )

    gone = headrace("delete", "a.txt", "-c", "yard", "-d", up.data_dir, "--wait")
    assert (gone.code, gone.value["deleted"]) == (0, 1)
    assert headrace("verify", "-d", up.data_dir).value["findings"] == []


async def test_a_dead_letter_goes_once_its_replay_ended_well(up: Up) -> None:
    late = up.data_dir.parent / "late.txt"
    job = Job(id="late", collection="late")
    source = Source("late.txt", late.as_uri(), "late.txt", late)
    state = DataDir(up.data_dir).read_state()
    assert state is not None
    settings = Settings(**state.settings)
    async with reader(settings, settings.topology.status) as status:
        await status.seek_to_end()
        outcomes = Outcomes(job.id)
        outcomes.expect([job.key("late.txt")])
        await send_events(settings, [job.by_uri(source)])
        assert await follow(status, outcomes, timeout_s=60)
    assert outcomes.counts == {State.FAILED: 1}
    [letter] = headrace("dlq", "list", "-d", up.data_dir).value["dead_letters"]

    again = headrace("dlq", "replay", letter["id"], "-d", up.data_dir)
    assert again.code == 1
    assert [each["outcome"] for each in again.value["replayed"]] == ["failed_again"]

    late.write_text("The grain came late, but it came.")
    last = headrace("dlq", "replay", "--all", "-d", up.data_dir)
    assert last.value["replayed"][0]["outcome"] == "resolved"
    assert last.value["replayed"][0]["state"] == "indexed"
    assert last.code == 0
    assert headrace("dlq", "list", "-d", up.data_dir).value["dead_letters"] == []
    found = headrace("search", "grain", "-c", "late", "-d", up.data_dir).value["hits"]
    assert [hit["document"] for hit in found] == ["late.txt"]


def test_a_second_stack_on_the_same_data_is_refused(up: Up) -> None:
    answer = headrace("up", "-d", up.data_dir)

    assert answer.code == 1
    assert answer.value["error"]["code"] == "data_dir_in_use"


async def test_a_killed_stage_comes_back_and_nothing_is_lost(
    up: Up, tmp_path: Path
) -> None:
    for number in range(60):
        (tmp_path / f"{number}.txt").write_text(f"Sack number {number} of rye.")
    headrace("ingest", tmp_path, "-c", "sacks", "-d", up.data_dir)
    victim = up.part("chunker")
    assert victim is not None
    victim.kill()

    def all_indexed() -> bool:
        documents = headrace("status", "-d", up.data_dir).value["documents"]
        return documents.get("indexed", 0) >= 60 and set(documents) <= FINAL

    await eventually(all_indexed)

    replaced = up.part("chunker")
    assert replaced is not None
    assert replaced.pid != victim.pid
    assert headrace("verify", "-d", up.data_dir).value["findings"] == []


async def test_what_is_uploaded_over_http_is_found_over_http(up: Up) -> None:
    async with HeadraceClient(up.ready["gateway"]) as client:
        text = b"The weir holds the water back."
        sent = await client.upload(text, collection="weir", name="weir.txt")

        async def indexed() -> bool:
            return (await client.get(sent.id)).state == "indexed"

        await eventually(indexed)
        hits = await client.search("water", collection="weir")
    assert [hit.name for hit in hits] == ["weir.txt"]
    found = headrace("search", "water", "-c", "weir", "-d", up.data_dir).value["hits"]
    assert [hit["document"] for hit in found] == [sent.id]


async def test_a_killed_gateway_is_back_at_its_place_and_keeps_what_it_accepted(
    up: Up,
) -> None:
    victim = up.part("gateway")
    assert victim is not None
    async with HeadraceClient(up.ready["gateway"]) as client:
        sent = [
            await client.upload(b"Stone.", collection="quarry", name=f"{number}.txt")
            for number in range(20)
        ]
        victim.kill()

        async def all_indexed() -> bool:
            try:
                states = {(await client.get(each.id)).state for each in sent}
            except httpx.TransportError:
                return False
            return states == {"indexed"}

        await eventually(all_indexed)
    replaced = up.part("gateway")
    assert replaced is not None
    assert replaced.pid != victim.pid


def test_the_doctor_finds_everything_in_order(up: Up) -> None:
    answer = headrace(
        "doctor", "-d", up.data_dir, env={"HEADRACE_EMBEDDING_PROVIDER": "hash"}
    )

    assert [each for each in answer.value["checks"] if not each["ok"]] == []
    assert answer.code == 0


def test_the_topics_are_as_they_should_be(up: Up) -> None:
    answer = headrace("topics", "check", "-d", up.data_dir)

    assert answer.value["problems"] == []
    assert answer.code == 0


def test_sigterm_stops_all_of_it_in_order(up: Up) -> None:
    family = psutil.Process(up.process.pid).children(recursive=True)
    up.process.send_signal(signal.SIGTERM)

    assert up.process.wait(timeout=60) == 0
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_partitions_are_added_once_nothing_is_on_the_way(up: Up) -> None:
    grown = headrace("topics", "grow", "5", "-d", up.data_dir)
    assert grown.code == 0
    assert len(grown.value["grown"]) == 6

    checked = headrace("topics", "check", "-d", up.data_dir)
    assert [
        each for each in checked.value["problems"] if "texts" in each["topic"]
    ] == []
    again = headrace("topics", "grow", "2", "-d", up.data_dir)
    assert again.value["error"]["code"] == "topics_refused"


def test_nothing_is_left_when_it_is_killed(tmp_path: Path) -> None:
    running = start(tmp_path / "data")
    family = psutil.Process(running.process.pid).children(recursive=True)
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    assert running.process.stdout is not None
    running.process.stdout.close()

    assert len(family) >= 7
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_without_a_stack_the_next_step_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("grain")
    answer = headrace("ingest", tmp_path / "a.txt", "-c", "c", "-d", tmp_path / "none")

    assert answer.code == 3
    assert answer.value["error"]["code"] == "not_running"
    assert "headrace up" in answer.value["error"]["advice"]
