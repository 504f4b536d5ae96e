"""Faust is used in the one form that loses nothing: here by what is written.

tests/end_to_end/test_registry.py shows that it does, against a real broker.
"""

from __future__ import annotations

import ast
from pathlib import Path

import headrace_registry
import pytest
from headrace_registry.settings import RegistrySettings
from headrace_registry.streaming import registry_app

SOURCES = sorted(Path(headrace_registry.__file__).parent.glob("**/*.py"))

FORBIDDEN = {
    # They acknowledge what failed.
    *("take", "take_events", "take_with_timestamp"),
    # Faust drops what it had fetched, and commits past it.
    *("pause_partitions", "resume_partitions"),
    # Untried, or made of what is above.
    *("group_by", "through", "left_join", "send_soon"),
    # Outside Faust's own hands commits are not in order.
    *("commit", "ack_lock"),
}


def faults(source: str) -> set[str]:
    """What a module does that the safe form forbids."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func.attr
            if called in FORBIDDEN and not _of_sql(node.func.value):
                found.add(called)
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "concurrency" and not (
                    isinstance(value, ast.Constant) and value.value == 1
                ):
                    found.add("concurrency")
                if keyword.arg in {"sink", "cls"} and called == "agent":
                    found.add(str(keyword.arg))
        # Events straight from the stream are acknowledged by Faust, done or not.
        if isinstance(node, ast.AsyncFor) and not _noacked(node.iter):
            found.add("async for")
        if isinstance(node, ast.Constant) and node.value == "exactly_once":
            found.add("exactly_once")
    return found


def _of_sql(receiver: ast.expr) -> bool:
    return ast.unparse(receiver).startswith("select(")


def _noacked(iterated: ast.expr) -> bool:
    text = ast.unparse(iterated)
    return ".noack().events()" in text or not text.startswith("stream")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_forbidden_is_used(path: Path) -> None:
    assert faults(path.read_text()) == set()


@pytest.mark.parametrize(
    ("fault", "source"),
    [
        ("concurrency", "app.agent(topic, concurrency=8)(work)"),
        ("take", "stream.noack().take(5, within=1)"),
        ("pause_partitions", "app.consumer.pause_partitions(tps)"),
        ("async for", "async def f(stream):\n async for e in stream.events(): pass"),
        ("async for", "async def f(stream):\n async for e in stream: pass"),
        ("exactly_once", "App(processing_guarantee='exactly_once')"),
        ("group_by", "stream.group_by(key)"),
    ],
)
def test_what_is_forbidden_is_found(fault: str, source: str) -> None:
    assert fault in faults(source)


def test_the_settings_that_matter() -> None:
    conf = registry_app(
        RegistrySettings(kafka_bootstrap_servers="a:1, b:2", topic_prefix="p")
    ).conf
    assert conf.id == "p.registry"
    assert [str(url) for url in conf.broker] == ["kafka://a:1", "kafka://b:2"]
    assert str(conf.processing_guarantee) == "ProcessingGuarantee.AT_LEAST_ONCE"
    assert conf.consumer_auto_offset_reset == "earliest"
    assert conf.topic_disable_leader
    assert not conf.topic_allow_declare
    assert not conf.web_enabled
    assert not conf.stream_wait_empty
    assert conf.stream_buffer_maxsize <= 256
