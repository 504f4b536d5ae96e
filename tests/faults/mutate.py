"""Shows that the suite can fail: each guard turned off must turn a row red.

``python -m tests.faults.mutate [NAME…]`` runs for each mutation the rows that are meant
to see it, level 1 beside level 2. A row counts only where an assertion about documents
fails: what ends by a time-out or cannot be imported has seen nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.injected.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
L1 = "tests/faults/l1"
SCHEDULES = {"HEADRACE_L1_SCHEDULES": "60", "HEADRACE_L1_SEED": "11"}
"""Few and always the same: a mutation is seen within the first ones."""
PATIENCE_S = 900.0
EVERYTHING = f"{L1}/test_schedules.py::test_row_01_to_04_everything_in_any_order"
OUT_OF_ORDER = f"{L1}/test_rows.py::test_row_34_out_of_order"
EXPIRED = f"{L1}/test_rows.py::test_row_16_offsets_expired"
STORM = f"{L1}/test_outages.py::test_row_13_rebalance_storm"
BAD_ANSWERS = f"{L1}/test_outages.py::test_row_21_22_bad_answers"
OUTAGES = f"{L1}/test_outages.py::test_row_25_outages"
IN_HAND = "tests/faults/test_offsets.py::test_row_04_killed_with_everything_in_hand"
EXPIRED_L2 = "tests/faults/test_offsets.py::test_row_16_sent_while_offsets_are_gone"
DYING = "tests/faults/test_front_kills.py::test_row_05_killed_at_each_step"
PAIRS = "tests/faults/test_front_requests.py::test_row_33_pairs_at_two_gateways"
KEYS = "tests/faults/test_front_callers.py::test_row_45_keys"

SEEN_BY = {
    "commit_before_effect": EVERYTHING,
    "auto_commit": IN_HAND,
    "auto_offset_reset_latest": EXPIRED_L2,
    "swallow_cancellation": STORM,
    "no_version_fence": OUT_OF_ORDER,
    "random_point_ids": EXPIRED,
    "dead_letter_on_outage": OUTAGES,
    "skip_answer_validation": BAD_ANSWERS,
    "out_of_order_commit": EVERYTHING,
    "outbox_outside_transaction": f"{DYING}[until_the_record]",
    "no_unique_name": PAIRS,
    "no_tenant_filter": KEYS,
}
_NO_FINDING = re.compile(r"not drained|stuck:|time-?out", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of some rows showed."""

    passed: bool
    red: tuple[str, ...]
    """Numbers of the rows whose assertions failed."""
    said: str


async def run(rows: Sequence[str], *, mutation: str = "") -> Outcome:
    """Run rows in a process of their own; with a mutation, to the first failure."""
    environment = {**os.environ, **SCHEDULES}
    options = []
    if mutation:
        environment["HEADRACE_MUTATION"] = mutation
        options = ["--exitfirst"]
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.xml"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "-q", f"--junitxml={report}"),
            *options,
            *rows,
            cwd=ROOT,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                said, _ = await process.communicate()
        except TimeoutError:
            # As a key press would: pytest then takes its stack down.
            process.send_signal(signal.SIGINT)
            await process.wait()
            return Outcome(passed=False, red=(), said="it did not end")
        red = _red_rows(report) if report.exists() else ()
    return Outcome(process.returncode == 0, red, said.decode(errors="replace"))


def _red_rows(report: Path) -> tuple[str, ...]:
    # Written by our own child process a moment ago.
    cases = ET.parse(report).getroot().iter("testcase")
    found = []
    for case in cases:
        failure = case.find("failure")
        message = "" if failure is None else failure.get("message", "")
        number = re.match(r"test_row_0*(\d+)", case.get("name", ""))
        if (
            number
            and message.startswith(("AssertionError", "assert"))
            and not _NO_FINDING.search(message[:400])
        ):
            found.append(number[1])
    return tuple(dict.fromkeys(found))


async def lane(names: Sequence[str]) -> bool:
    """The rows as they are, then each mutation; whether all went as it must."""
    rows = list(dict.fromkeys(SEEN_BY[name] for name in names))
    if not rows:
        return True
    usual = await run(rows)
    if not usual.passed:
        say(f"these rows fail without any mutation:\n{usual.said[-4000:]}")
        return False
    well = True
    for name in names:
        outcome = await run([SEEN_BY[name]], mutation=name)
        if outcome.red:
            say(f"mutation {name} red at row {', '.join(outcome.red)}")
            continue
        well = False
        what = "green" if outcome.passed else "not seen, though the run failed"
        say(f"mutation {name} {what}: {SEEN_BY[name]}\n{outcome.said[-4000:]}")
    return well


async def main(names: Sequence[str]) -> int:
    """0 where every mutation was seen, else 1; 2 for a name that there is not."""
    unknown = set(names) - MUTATIONS.keys()
    if unknown:
        say(f"there is no mutation {', '.join(sorted(unknown))}")
        say(f"there are: {', '.join(MUTATIONS)}")
        return 2
    chosen = [name for name in MUTATIONS if not names or name in names]
    first = [name for name in chosen if SEEN_BY[name].startswith(L1)]
    second = [name for name in chosen if name not in first]
    both = await asyncio.gather(lane(first), lane(second))
    return 0 if all(both) else 1


def say(line: str) -> None:
    """To whoever reads along, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
