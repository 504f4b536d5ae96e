"""The processes of the suite's stack, and what can be done to them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from headrace_local.broker import Broker
from headrace_local.parts import Part, Program
from headrace_local.processes import ManagedProcess
from prometheus_client.parser import text_string_to_metric_families

from tests.faults.injected.failpoints import HIT
from tests.support.eventually import eventually

START_S = 120.0
GRACE_S = 20.0
_TAIL_LINES = 30


class Machine:
    """A process that can be killed, stopped for a while and started again.

    Attributes:
        name: what it is called in logs.
        starts: how often it was started.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.starts = 0

    @property
    def process(self) -> ManagedProcess:
        raise NotImplementedError

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.exit_code is None

    @property
    def memory(self) -> int:
        """Resident bytes of the process itself."""
        return int(psutil.Process(self.pid).memory_info().rss)

    async def kill9(self) -> None:
        """As a crash would; returns once it is gone."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        await self.process.wait()

    def stop(self) -> None:
        """SIGSTOP: it hangs, and its connections stay."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    async def terminate(self, *, grace_s: float = GRACE_S) -> int:
        """SIGTERM, and SIGKILL after the grace; the exit code."""
        self.cont()
        code = await self.process.stop(grace_s=grace_s)
        assert code is not None
        return code

    async def ended(self, *, patience_s: float = 60.0) -> int:
        """Its exit code, once it has ended by itself or by a failpoint."""
        async with asyncio.timeout(patience_s):
            return await self.process.wait()

    @property
    def log(self) -> str:
        """Everything it ever wrote."""
        try:
            return self.process.log_file.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def last_words(self) -> str:
        """The end of its log, for a person who looks why a row failed."""
        lines = self.log.splitlines()[-_TAIL_LINES:]
        return "\n".join(line[:600] for line in lines)


class PartMachine(Machine):
    """The broker or the store."""

    def __init__(self, part: Broker | Program) -> None:
        super().__init__(part.name)
        self._part: Part = part

    @property
    def process(self) -> ManagedProcess:
        return self._part.process

    async def start(self) -> None:
        self.starts += 1
        await self._part.start()

    async def restart(self) -> None:
        """Ask it to end, if it runs, and start it on what it had."""
        await self.terminate()
        await self.start()


class StageMachine(Machine):
    """One process of a stage, of the registry or the gateway.

    Args:
        stage: which, or the service's name.
        name: of the process; several may be of one stage.
        directory: for its files.
        environment: asked at each start.
    """

    def __init__(
        self,
        stage: str,
        *,
        name: str,
        directory: Path,
        environment: Callable[[], Mapping[str, str]],
    ) -> None:
        super().__init__(name)
        self.stage = stage
        self.work_dir = directory / "work" / name
        self._address_file = directory / "run" / name
        self._failpoint_file = directory / "failpoints" / name
        self._usual = environment
        self._extra: dict[str, str] = {}
        for file in (self._address_file, self._failpoint_file):
            file.parent.mkdir(parents=True, exist_ok=True)
        self._process = ManagedProcess(
            name,
            [sys.executable, "-m", f"headrace_{stage}"],
            log_file=directory / "logs" / f"{name}.log",
            environment=self._environment,
        )

    @property
    def process(self) -> ManagedProcess:
        return self._process

    @property
    def altered(self) -> bool:
        """Whether it runs with another environment than usual."""
        return bool(self._extra)

    def _environment(self) -> dict[str, str]:
        return {
            **self._usual(),
            "HEADRACE_PROBE_FILE": str(self._address_file),
            "HEADRACE_WORK_DIR": str(self.work_dir),
            "HEADRACE_FAILPOINT_FILE": str(self._failpoint_file),
            **self._extra,
        }

    async def start(
        self, *, env: Mapping[str, str] | None = None, wait: bool = True
    ) -> None:
        """Start it, with further environment for this one run.

        Args:
            env: wins over the usual.
            wait: until it is ready.
        """
        self._extra = dict(env or {})
        self._address_file.unlink(missing_ok=True)
        self.starts += 1
        self._process.start()
        if wait:
            await self.wait_ready()

    async def restart(
        self, *, env: Mapping[str, str] | None = None, wait: bool = True
    ) -> None:
        """End it in order, if it runs, and start it."""
        if self.alive and self.starts:
            await self.terminate()
        await self.start(env=env, wait=wait)

    async def wait_ready(self, *, patience_s: float = START_S) -> None:
        """Return once it says that it is ready.

        Raises:
            AssertionError: it ended, or is not ready in time; with the end of its log.
        """
        reason: str | None = "not asked"
        try:
            async with asyncio.timeout(patience_s):
                while (reason := await self.not_ready()) is not None:
                    if not self.alive:
                        break
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        if reason is not None:
            raise AssertionError(
                f"the {self.name} is not ready: {reason}; {self.last_words()}"
            )

    async def not_ready(self) -> str | None:
        """Why it is not ready, in its own words, or ``None``."""
        if not self.alive:
            return f"it ended with {self.process.exit_code}"
        try:
            status, text = await self._get("readyz")
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            return f"its probes do not answer: {error!r}"
        return None if status == 200 else text.strip()

    async def declines(self) -> bool:
        """Whether it answers, and says that it cannot work."""
        reason = await self.not_ready()
        return reason is not None and self.alive and "probes" not in reason

    async def live(self) -> bool:
        """Whether its liveness probe says so."""
        try:
            status, _ = await self._get("livez")
        except (OSError, aiohttp.ClientError, TimeoutError):
            return False
        return status == 200

    async def metrics(self) -> Samples:
        """What it exports now."""
        return Samples(await self.exported())

    async def exported(self) -> str:
        """The same as it is written."""
        _, text = await self._get("metrics")
        return text

    async def _get(self, path: str) -> tuple[int, str]:
        address = self._address_file.read_text()
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{address}/{path}") as response,
        ):
            return response.status, await response.text()

    def arm(self, point: str, *, at: int = 1, action: str = "kill9") -> None:
        """See ``injected/failpoints.py``; takes effect at once, and once."""
        self.disarm()
        partly = self._failpoint_file.with_suffix(".partly")
        partly.write_text(f"{point}:{action}@{at}")
        partly.replace(self._failpoint_file)

    def disarm(self) -> None:
        """Take back what was armed."""
        self._failpoint_file.unlink(missing_ok=True)
        self._hit_file.unlink(missing_ok=True)

    @property
    def hit(self) -> bool:
        """Whether what was armed has happened."""
        return self._hit_file.exists()

    async def wait_stopped(self, *, patience_s: float = 60.0) -> None:
        """Return once what was armed has stopped it: a SIGCONT before is of no use."""
        await eventually(lambda: self.hit, patience_s=patience_s)
        process = psutil.Process(self.pid)
        await eventually(lambda: process.status() == psutil.STATUS_STOPPED)

    @property
    def _hit_file(self) -> Path:
        return Path(f"{self._failpoint_file}{HIT}")

    def records(self, **fields: Any) -> list[dict[str, Any]]:
        """Lines of its log that have these fields, such as ``event="…"``."""
        found = []
        for line in self.log.splitlines():
            with suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and fields.items() <= record.items():
                    found.append(record)
        return found


class Samples:
    """Parsed ``/metrics``."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name that have these labels; 0 where none has."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name in (name, f"headrace_{name}")
            and labels.items() <= sample.labels.items()
        )
