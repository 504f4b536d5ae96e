"""The supervisor, over small programs that do as they are told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from headrace_local.parts import PartFailed, Program
from headrace_local.supervisor import Supervisor

from tests.support.eventually import eventually

ROOT = Path(__file__).parents[3]

STEADY = """
import pathlib, signal, sys
journal = open({journal!r}, "a", buffering=1)
def stop(*_):
    journal.write("-{name}\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
journal.write("+{name}\\n")
pathlib.Path({address!r}).write_text("127.0.0.1:1")
signal.pause()
"""
GATED = """
import pathlib, signal, time
while not pathlib.Path({journal!r}).exists():
    time.sleep(0.01)
pathlib.Path({address!r}).write_text("127.0.0.1:1")
signal.pause()
"""
DEAF = """
import pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({address!r}).write_text("127.0.0.1:1")
while True:
    signal.pause()
"""
MISCONFIGURED = """
import sys
print("HEADRACE_THIS: must be more")
sys.exit(78)
"""
KILLED_TWICE = """
import os, pathlib, signal
journal = pathlib.Path({journal!r})
before = journal.read_text() if journal.exists() else ""
journal.write_text(before + "x")
if len(before) < 2:
    os.kill(os.getpid(), signal.SIGKILL)
pathlib.Path({address!r}).write_text("127.0.0.1:1")
signal.pause()
"""
BROKEN = "raise RuntimeError('no such thing')"


class Yard:
    """Makes programs below one folder and keeps what was reported of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports: list[tuple[str, str]] = []

    @property
    def journal(self) -> list[str]:
        path = self.folder / "journal"
        return path.read_text().split() if path.exists() else []

    def program(self, name: str, code: str, *, grace_s: float = 10) -> Program:
        address = self.folder / f"{name}.address"
        text = code.format(
            name=name, address=str(address), journal=str(self.folder / "journal")
        )
        return Program(
            name=name,
            command=[sys.executable, "-c", text],
            log_file=self.folder / f"{name}.log",
            address_file=address,
            grace_s=grace_s,
        )

    def supervisor(
        self, *groups: list[Program], later: Sequence[Program] = ()
    ) -> Supervisor:
        return Supervisor(
            groups, report=lambda *report: self.reports.append(report), later=later
        )


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


async def test_parts_start_in_order_and_stop_in_reverse(yard: Yard) -> None:
    supervisor = yard.supervisor(
        [yard.program("broker", STEADY)],
        [yard.program("loader", STEADY)],
        [yard.program("indexer", STEADY)],
    )
    await supervisor.start()
    await supervisor.stop()

    expected = ["+broker", "+loader", "+indexer", "-indexer", "-loader", "-broker"]
    assert expected == yard.journal


async def test_a_killed_part_starts_again_and_that_is_reported(yard: Yard) -> None:
    program = yard.program("loader", STEADY)
    supervisor = yard.supervisor([program])
    await supervisor.start()
    try:
        os.kill(program.process.pid, signal.SIGKILL)
        await eventually(lambda: ("loader", "is ready again") in yard.reports)

        assert yard.reports[0][1].startswith("ended (signal 9)")
        assert supervisor.restarts == {"loader": 1}
        assert yard.journal == ["+loader", "+loader"]
    finally:
        await supervisor.stop()


async def test_nobody_waits_for_what_may_start_later(yard: Yard) -> None:
    gateway = yard.program("gateway", STEADY)
    supervisor = yard.supervisor([yard.program("loader", STEADY)], later=[gateway])
    await supervisor.start()
    assert yard.journal == ["+loader"]

    await eventually(lambda: gateway.address)
    await supervisor.stop()
    assert yard.journal == ["+loader", "+gateway", "-gateway", "-loader"]


async def test_the_rest_goes_on_without_what_may_start_later(yard: Yard) -> None:
    supervisor = yard.supervisor(
        [yard.program("loader", STEADY)], later=[yard.program("gateway", BROKEN)]
    )
    await supervisor.start()
    await eventually(lambda: yard.reports)
    try:
        assert await supervisor.while_running(asyncio.sleep(0, "done")) == "done"
        assert yard.reports[0][1].startswith("does not start, the rest goes on")
    finally:
        await supervisor.stop()


async def test_a_part_that_does_not_start_stops_the_others(yard: Yard) -> None:
    supervisor = yard.supervisor(
        [yard.program("broker", STEADY)], [yard.program("loader", BROKEN)]
    )

    with pytest.raises(PartFailed, match=r"loader ended at once[\s\S]*no such thing"):
        await supervisor.start()
    assert yard.journal == ["+broker", "-broker"]


async def test_a_part_that_is_killed_as_it_starts_is_started_again(yard: Yard) -> None:
    supervisor = yard.supervisor([yard.program("loader", KILLED_TWICE)])
    await supervisor.start()
    await supervisor.stop()

    assert yard.journal == ["xxx"]
    assert [said.split(";")[0] for _, said in yard.reports] == ["was killed"] * 2


async def test_wrong_settings_are_told_apart(yard: Yard) -> None:
    supervisor = yard.supervisor([yard.program("loader", MISCONFIGURED)])

    with pytest.raises(PartFailed, match="HEADRACE_THIS: must be more") as caught:
        await supervisor.start()
    assert caught.value.configuration


async def test_work_ends_when_a_part_is_given_up(yard: Yard) -> None:
    program = yard.program("loader", STEADY)
    supervisor = yard.supervisor([program])
    await supervisor.start()
    # From here on each new start finds other settings.
    program.process._command[-1] = MISCONFIGURED
    os.kill(program.process.pid, signal.SIGKILL)
    try:
        with pytest.raises(PartFailed, match="HEADRACE_THIS"):
            await supervisor.while_running(asyncio.Event().wait())
    finally:
        await supervisor.stop()


async def test_the_result_of_work_is_passed_on(yard: Yard) -> None:
    supervisor = yard.supervisor([yard.program("loader", STEADY)])
    await supervisor.start()
    try:
        assert await supervisor.while_running(asyncio.sleep(0, "done")) == "done"
    finally:
        await supervisor.stop()


async def test_a_part_that_does_not_listen_is_killed(yard: Yard) -> None:
    program = yard.program("loader", DEAF, grace_s=0.1)
    supervisor = yard.supervisor([program])
    await supervisor.start()
    await supervisor.stop()

    assert program.process.exit_code == -signal.SIGKILL


def test_no_process_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import asyncio, pathlib, sys
        sys.path.insert(0, {str(ROOT)!r})
        from tests.unit.headrace_local.test_supervisor import STEADY, Yard
        async def main():
            yard = Yard(pathlib.Path({str(tmp_path)!r}))
            programs = [yard.program(n, STEADY) for n in ("broker", "loader")]
            await yard.supervisor(programs).start()
            print(*(p.process.pid for p in programs), flush=True)
            await asyncio.Event().wait()
        asyncio.run(main())
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()

    assert len(children) == 2
    assert psutil.wait_procs(children, timeout=10)[1] == []


async def test_the_address_of_a_part_that_starts_again_can_be_asked(yard: Yard) -> None:
    """Others may die with it, and all addresses are told as soon as one is back."""
    gate = yard.folder / "journal"
    gate.touch()
    part = yard.program("slow", GATED)
    supervisor = yard.supervisor([part])
    await supervisor.start()
    try:
        gate.unlink()
        os.kill(part.process.pid, signal.SIGKILL)
        await eventually(lambda: not (yard.folder / "slow.address").exists())
        assert part.address == "127.0.0.1:1"
        gate.touch()
        await eventually(lambda: ("slow", "is ready again") in yard.reports)
    finally:
        gate.touch()
        await supervisor.stop()
