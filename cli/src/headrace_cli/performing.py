"""Runs a command's coroutine and turns every ending into an exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
import typer
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError
from headrace_local.data_dir import DataDirInUse
from headrace_local.parts import PartFailed

from headrace.errors import ConfigurationError, DocumentFailure, SharedFailure
from headrace.refusals import Refused
from headrace.store import CollectionMismatch
from headrace_cli.failures import (
    EXIT_CONFIGURATION,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    CommandFailed,
)
from headrace_cli.output import Output

EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 128
"""And the signal's number."""


def perform(
    work: Callable[[Output], Coroutine[Any, Any, int]], *, as_json: bool
) -> None:
    """Run a command to its end; ``work`` returns the exit code.

    Raises:
        typer.Exit: always.
    """
    output = Output(as_json=as_json)
    # What libraries and our own parts log is not the command's answer.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )
    logging.basicConfig(level=logging.CRITICAL)
    try:
        code = asyncio.run(_until_terminated(work(output)))
    except KeyboardInterrupt:
        output.note("interrupted")
        code = EXIT_INTERRUPTED
    except _Terminated as ended:
        code = EXIT_TERMINATED + ended.number
    except Exception as error:
        failure = explained(error)
        if failure is None:
            raise
        output.error(failure)
        code = failure.exit_code
    raise typer.Exit(code)


class _Terminated(Exception):
    """SIGTERM came, or the terminal went."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


async def _until_terminated(work: Coroutine[Any, Any, int]) -> int:
    """SIGTERM cancels like Ctrl-C does, so that what was begun ends in order.

    So does the end of the terminal, but for those who have it ignored (``nohup``).
    """
    task = asyncio.create_task(work)
    came = 0

    def terminate(number: int) -> None:
        nonlocal came
        came = number
        task.cancel()

    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(each, terminate, each)
    try:
        return await task
    except asyncio.CancelledError:
        if came:
            raise _Terminated(came) from None
        raise


def explained(error: Exception) -> CommandFailed | None:
    """The failure behind an exception that we know; ``None`` for a bug."""
    if isinstance(error, CommandFailed):
        return error
    for known, explain in _EXPLANATIONS.items():
        if isinstance(error, known):
            return explain(error)
    return None


def _explain_part(error: Any) -> CommandFailed:
    return CommandFailed(
        "configuration" if error.configuration else "stack_failed",
        str(error),
        exit_code=EXIT_CONFIGURATION if error.configuration else EXIT_FAILED,
    )


def _explain_shared(error: Any) -> CommandFailed:
    return CommandFailed(
        error.reason,
        str(error),
        advice="try again once it is back; `headrace doctor` says what is not",
        exit_code=EXIT_UNREACHABLE,
    )


def _explain_connection(error: Any) -> CommandFailed:
    return CommandFailed(
        "broker_unavailable",
        f"Kafka cannot be reached: {error}",
        advice="check KAFKA_BOOTSTRAP_SERVERS, or start `headrace up`",
        exit_code=EXIT_UNREACHABLE,
    )


def _explain_refusal(error: Any) -> CommandFailed:
    return CommandFailed(
        "broker_refused",
        f"Kafka refused: {error}",
        advice="`headrace doctor` checks topics and rights",
    )


def _explain_permission(error: Any) -> CommandFailed:
    return CommandFailed(
        "permission_denied",
        f"{error.filename}: {error.strerror}",
        advice="choose another folder, or change its rights",
    )


def _explain_configuration(error: Any) -> CommandFailed:
    return CommandFailed("configuration", str(error), exit_code=EXIT_CONFIGURATION)


_EXPLANATIONS: dict[type[Exception], Callable[[Any], CommandFailed]] = {
    ConfigurationError: _explain_configuration,
    CollectionMismatch: _explain_configuration,
    PartFailed: _explain_part,
    DataDirInUse: lambda error: CommandFailed("data_dir_in_use", str(error)),
    Refused: lambda error: CommandFailed(
        error.code,
        error.message,
        advice=error.advice,
        exit_code=EXIT_USAGE if error.usage else EXIT_FAILED,
    ),
    SharedFailure: _explain_shared,
    DocumentFailure: lambda error: CommandFailed(
        error.code, error.message, advice=error.advice
    ),
    KafkaConnectionError: _explain_connection,
    NodeNotReadyError: _explain_connection,
    KafkaError: _explain_refusal,
    PermissionError: _explain_permission,
}
"""The first that fits counts, so the special ones come first."""
