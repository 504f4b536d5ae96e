"""``headrace topics``: what its commands do."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from headrace_local.data_dir import DataDir
from headrace_local.stack import replication_factor

from headrace import topics
from headrace.draining import Left, drained
from headrace.kafka_clients import admin_client
from headrace.messages import Stage
from headrace.settings import Settings
from headrace_cli.failures import EXIT_FAILED, EXIT_OK, CommandFailed
from headrace_cli.opening import Needs, opened
from headrace_cli.output import Output

_AFTER_LOADER = (Stage.CHUNKER, Stage.EMBEDDER, Stage.INDEXER)


async def apply_missing(*, data_dir: Path, output: Output) -> int:
    """Make what is missing, print it; the exit code."""
    async with opened(data_dir, Needs(broker=True), output) as pipeline:
        settings = pipeline.settings
        async with admin_client(settings) as admin:
            made = await _refusable(
                topics.apply(
                    admin,
                    settings.topology,
                    replication_factor=await replication_factor(admin),
                )
            )
            drift = await topics.check(admin, settings.topology)
    for name in made:
        output.text(f"made {name}")
    output.text(f"{len(made)} topics made")
    return _report(drift, output, {"made": made})


async def check_all(*, data_dir: Path, output: Output) -> int:
    """Compare, print; the exit code."""
    async with opened(data_dir, Needs(broker=True), output) as pipeline:
        drift = await _drift(pipeline.settings)
    if not drift:
        output.text("all topics are as they should be")
    return _report(drift, output, {})


async def problems_of_topics(settings: Settings) -> list[str]:
    """What is wrong with the topics, for people."""
    return [f"{each.topic} {each.what}" for each in await _drift(settings)]


async def grow_to(
    partitions: int, *, data_dir: Path, timeout_s: float, output: Output
) -> int:
    """Drain what is behind the loader, then add partitions; the exit code."""
    needs = Needs(broker=True, store=True, draining=True)
    async with opened(data_dir, needs, output) as pipeline:
        settings = pipeline.settings
        async with admin_client(settings) as admin:
            await _refuse_running_loader(admin, settings)
            # First: where partitions were added to some topics only, what came by them
            # waits for those ahead, and would never drain.
            aligned = await _refusable(topics.align(admin, settings.topology))
            await _drain(settings, timeout_s=timeout_s, output=output)
            grown = await _refusable(
                topics.grow(admin, settings.topology, partitions=partitions)
            )
            grown = sorted({*aligned, *grown})
        own = pipeline.supervisor is not None
    if own:
        DataDir(data_dir).remember(partitions=partitions)
    for name in grown:
        output.text(f"{name} has {partitions} partitions now")
    if not grown:
        output.text(f"all have {partitions} partitions already")
    output.text(f"set HEADRACE_PARTITIONS={partitions} where it is set")
    output.answer({"grown": grown, "partitions": partitions})
    return EXIT_OK


async def _drift(settings: Settings) -> list[topics.Drift]:
    async with admin_client(settings) as admin:
        return await topics.check(admin, settings.topology)


def _report(drift: list[topics.Drift], output: Output, more: dict[str, object]) -> int:
    for each in drift:
        output.text(f"{each.topic}: {each.what}")
    output.answer(
        {
            **more,
            "problems": [{"topic": each.topic, "what": each.what} for each in drift],
        }
    )
    return EXIT_FAILED if drift else EXIT_OK


async def _refuse_running_loader(
    admin: AIOKafkaAdminClient, settings: Settings
) -> None:
    """A loader that produces while partitions are added splits keys over owners."""
    group = settings.topology.group(Stage.LOADER)
    for response in await admin.describe_consumer_groups([group]):
        for _, _, state, _, _, members, *_ in response.groups:
            if members:
                raise CommandFailed(
                    "loader_runs",
                    f"the loader still runs (group {group}: {len(members)} members, "
                    f"{state})",
                    advice="stop `headrace up`, or scale the loader to zero, and run "
                    "this again",
                )


async def _drain(settings: Settings, *, timeout_s: float, output: Output) -> None:
    """Wait until the stages behind the loader have read everything."""

    def tell(left: Left) -> None:
        if left:
            output.note(f"{sum(left.values())} records to drain")

    left = await drained(settings, _AFTER_LOADER, timeout_s=timeout_s, tell=tell)
    if left:
        waiting = ", ".join(f"{stage} {count}" for stage, count in left.items())
        raise CommandFailed(
            "not_drained",
            f"records are still left after {timeout_s:.0f} s: {waiting}",
            advice="let these stages run, look at `headrace status`, and try again",
        )


async def _refusable(work: Awaitable[list[str]]) -> list[str]:
    try:
        return await work
    except topics.TopicsRefused as error:
        raise CommandFailed(
            "topics_refused",
            str(error),
            advice="ask whoever runs the broker for the right to do it",
        ) from error
