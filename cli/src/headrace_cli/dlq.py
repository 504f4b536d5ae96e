"""``headrace dlq``: what its commands do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import SharedFailure
from headrace.kafka_clients import sender
from headrace.open_letters import LetterFilter, OpenLetter, chosen, open_letters, when
from headrace.replaying import in_order, original_value, replay
from headrace.replays import Outcome, Replay
from headrace.resolving import resolve, still_open
from headrace.settings import Settings
from headrace_cli.decoding import decoded
from headrace_cli.failures import EXIT_FAILED, EXIT_OK, CommandFailed, usage
from headrace_cli.opening import Needs, opened
from headrace_cli.output import Output

_SHOWN = 4096
_SHORT_ID = 8


async def list_open(wanted: LetterFilter, *, data_dir: Path, output: Output) -> int:
    """Print the open letters; the exit code."""
    needs = Needs(broker=True, store=True)
    async with opened(data_dir, needs, output) as pipeline:
        letters = chosen(await open_letters(pipeline.settings), wanted)
        asked = True
        try:
            letters = await still_open(letters, pipeline.settings)
        except SharedFailure as error:
            asked = False
            output.note(f"letters of deleted documents may be among them: {error}")
    output.table(
        ["id", "stage", "document", "reason", "failed at"],
        [
            (
                each.id[:_SHORT_ID],
                each.letter.stage,
                each.document or "(unreadable)",
                f"{each.letter.error.code}: {each.letter.error.message}",
                when(each.letter.failed_at_ms),
            )
            for each in letters
        ],
    )
    output.text(f"{len(letters)} open dead letters")
    summaries = [each.summary() for each in letters]
    output.answer({"dead_letters": summaries, "deletions_known": asked})
    return EXIT_OK


async def show_one(
    id_: str, *, data_dir: Path, save: Path | None, output: Output
) -> int:
    """Print one letter with its original record; the exit code."""
    async with opened(data_dir, Needs(broker=True), output) as pipeline:
        found = chosen(await open_letters(pipeline.settings), LetterFilter(ids=(id_,)))[
            0
        ]
        value = await original_value(found.letter, pipeline.settings)
    if save is not None:
        await _save(save, value or b"")
    headers = {
        name: content.decode(errors="backslashreplace")
        for name, content in found.letter.original_headers
    }
    summary = found.summary()
    for name, field in summary.items():
        output.text(f"{name:<12} {field}")
    key = found.letter.original_key
    shown = None if key is None else key.decode(errors="backslashreplace")
    output.text(f"{'key':<12} {shown}")
    for name, text in headers.items():
        output.text(f"{'header':<12} {name}: {text}")
    message = decoded(found.letter, value)
    if value is None:
        output.text("the record had no value")
    elif message is None:
        output.text(f"{len(value)} bytes that are no message of the contract:")
        _excerpt(value.decode(errors="backslashreplace"), output)
    else:
        output.text(f"{len(value)} bytes, which say:")
        _excerpt(json.dumps(message, ensure_ascii=False, indent=2), output)
    output.answer(
        {
            **summary,
            "key": shown,
            "headers": headers,
            "decoded": message,
            "value_base64": None if value is None else base64.b64encode(value).decode(),
        }
    )
    return EXIT_OK


async def replay_letters(
    wanted: LetterFilter,
    *,
    everything: bool,
    data_dir: Path,
    timeout_s: float,
    rate: float | None,
    output: Output,
) -> int:
    """Replay and print what became of it; the exit code."""
    _refuse_vague(wanted, everything=everything)
    needs = Needs(broker=True, stages=True, store=True)
    async with opened(data_dir, needs, output) as pipeline:
        letters = in_order(await _letters(wanted, pipeline.settings))
        replays = await replay(
            letters, pipeline.settings, timeout_s=timeout_s, rate=rate
        )
    return _replayed(replays, output)


def _replayed(replays: Sequence[Replay], output: Output) -> int:
    output.table(
        ["id", "document", "outcome", "state"],
        [
            (
                each.letter.id[:_SHORT_ID],
                each.letter.document or "(unreadable)",
                each.outcome,
                each.state or each.problem,
            )
            for each in replays
        ],
    )
    outcomes = [each.outcome for each in replays]
    output.text(
        f"{outcomes.count(Outcome.RESOLVED)} resolved, "
        f"{outcomes.count(Outcome.FAILED_AGAIN)} failed again, "
        f"{outcomes.count(Outcome.WAITING)} not finished yet; their letters stay"
    )
    output.answer(
        {
            "replayed": [
                {
                    "id": each.letter.id,
                    "document": each.letter.document,
                    "outcome": each.outcome,
                    "state": each.state,
                    "problem": each.problem or None,
                }
                for each in replays
            ]
        }
    )
    resolved = all(outcome is Outcome.RESOLVED for outcome in outcomes)
    return EXIT_OK if resolved else EXIT_FAILED


async def drop_letters(
    wanted: LetterFilter,
    *,
    everything: bool,
    reason: str,
    data_dir: Path,
    output: Output,
) -> int:
    """Resolve letters without doing them; the exit code."""
    _refuse_vague(wanted, everything=everything)
    if not reason.strip():
        raise usage("--reason is empty", "say why, for those who ask later")
    async with opened(data_dir, Needs(broker=True), output) as pipeline:
        letters = await _letters(wanted, pipeline.settings)
        async with sender(pipeline.settings) as out:
            for letter in letters:
                await resolve(
                    letter, out, pipeline.settings, action="drop", reason=reason
                )
    output.text(f"{len(letters)} letters dropped")
    output.answer({"dropped": [each.id for each in letters]})
    return EXIT_OK


async def _save(path: Path, value: bytes) -> None:
    try:
        await asyncio.to_thread(path.write_bytes, value)
    except OSError as error:
        raise CommandFailed(
            "not_saved",
            f"{path} cannot be written: {error.strerror}",
            advice="name a file in a folder that is there and yours",
        ) from error


def _excerpt(text: str, output: Output) -> None:
    output.text(text[:_SHOWN])
    if len(text) > _SHOWN:
        output.text("… --save writes all of its bytes to a file")


async def _letters(wanted: LetterFilter, settings: Settings) -> list[OpenLetter]:
    return chosen(await open_letters(settings), wanted)


def _refuse_vague(wanted: LetterFilter, *, everything: bool) -> None:
    if everything and wanted.ids:
        raise usage("--all and ids exclude each other", "give one of them")
    if not everything and not wanted.ids:
        raise usage(
            "no letter is named",
            "give ids from `headrace dlq list`, or --all with the options that "
            "narrow it down",
        )
