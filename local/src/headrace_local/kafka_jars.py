"""The jars of the local Kafka broker: pinned by hash, fetched once, kept in a cache.

``kafka.lock`` names every jar with its SHA-256, so that a start neither walks Maven's
metadata nor runs code that nobody reviewed. ``python -m headrace_local.kafka_jars``
fetches them; with ``--lock`` it resolves ``WANTED``
again and rewrites the lock.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WANTED = (
    "org.apache.kafka:kafka_2.13:4.1.1",
    # Kafka logs through SLF4J and brings no implementation; this is the smallest.
    "org.slf4j:slf4j-simple:1.7.36",
)
LOCK = Path(__file__).with_name("kafka.lock")
DOWNLOADS = 8
ATTEMPTS = 3
TIMEOUT_S = 30


class JarsUnavailable(Exception):
    """The broker's jars are not in the cache and cannot be fetched."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where a Maven repository keeps it."""
        folder = Path(*self.group.split(".")) / self.artifact / self.version
        return folder / f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def cache_dir() -> Path:
    """``HEADRACE_CACHE_DIR``, else ``headrace`` in the user's cache folder."""
    if own := os.environ.get("HEADRACE_CACHE_DIR"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "headrace"
    return Path.home() / ".cache" / "headrace"


def locked_jars(lock: Path = LOCK) -> list[Jar]:
    """The jars of the lock, in the order of the class path."""
    jars: list[Jar] = []
    for line in lock.read_text().splitlines():
        coordinate, _, sha256 = line.partition(" sha256:")
        group, artifact, version = coordinate.split(":")
        jars.append(Jar(group, artifact, version, sha256))
    return jars


def lock_digest() -> str:
    """Names what was made from this very lock."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]


def class_path(cache: Path) -> list[Path]:
    """Paths of all jars, fetching and checking those that are missing.

    Raises:
        JarsUnavailable: saying what to do.
    """
    repository = cache / "maven"
    jars = locked_jars()
    paths = [repository / jar.path for jar in jars]
    checked = cache / f"kafka-{lock_digest()}.checked"
    if checked.exists() and all(path.exists() for path in paths):
        return paths
    with _locked(cache):
        for jar, path in zip(jars, paths, strict=True):
            if path.exists() and _sha256(path) != jar.sha256:
                path.unlink()  # a download that was cut off
        _fetch([jar for jar in jars if not (repository / jar.path).exists()], cache)
        checked.touch()
    return paths


def _fetch(jars: list[Jar], cache: Path) -> None:
    if not jars:
        return
    # Only a first start pays for importing the client.
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    repositories = GlobalSettings.load().repositories or {"central": MAVEN_CENTRAL_URL}
    context = MavenContext(
        repo_cache=cache / "maven", remote_repos=repositories, timeout=TIMEOUT_S
    )

    def fetch(jar: Jar) -> None:
        path = _download(context, jar, cache)
        if _sha256(path) != jar.sha256:
            path.unlink()
            raise JarsUnavailable(
                f"{jar} has another SHA-256 than kafka.lock says; somebody changed "
                "it on the way. Try another network or repository (~/.config/jgo.conf)."
            )

    print(  # noqa: T201  the first start of a machine takes seconds longer
        f"fetching Apache Kafka ({len(jars)} jars, once)", file=sys.stderr
    )
    try:
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            list(pool.map(fetch, jars))
    except JarsUnavailable:
        raise
    except Exception as error:  # whatever the client raises means the same to us
        raise JarsUnavailable(
            f"cannot fetch Apache Kafka's jars: {error}. They are needed once; check "
            f"the network (or set another repository in ~/.config/jgo.conf), or copy "
            f"{cache} from a machine that has them, or set KAFKA_BOOTSTRAP_SERVERS "
            "to a broker of your own."
        ) from error


def _download(context: Any, jar: Jar, cache: Path) -> Path:
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return Path(component.artifact().resolve())
        except Exception:  # a connection that broke leaves half a file
            (cache / "maven" / jar.path).unlink(missing_ok=True)
            if attempt == ATTEMPTS:
                raise
            time.sleep(attempt)
    raise AssertionError


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One process at a time fills the cache."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        file = (cache / "lock").open("w")
    except OSError as error:
        raise JarsUnavailable(
            f"the cache folder {cache} cannot be written: {error}. "
            "Set HEADRACE_CACHE_DIR to one that can."
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_lock(cache: Path) -> None:
    """Resolve ``WANTED`` with everything it needs and rewrite the lock."""
    from jgo.maven import MavenContext  # noqa: PLC0415
    from jgo.parse import Coordinate  # noqa: PLC0415

    context = MavenContext(repo_cache=cache / "maven", timeout=TIMEOUT_S)
    wanted = []
    for name in WANTED:
        dependency = context.create_dependency(Coordinate.parse(name))
        dependency.scope = "compile"
        wanted.append(dependency)
    inputs, transitive = context.resolver.resolve(wanted)
    needed = [*inputs, *(d for d in transitive if d.scope in ("compile", "runtime"))]
    lines = [
        f"{d.groupId}:{d.artifactId}:{d.version} "
        f"sha256:{_sha256(Path(d.artifact.resolve()))}\n"
        for d in needed
    ]
    LOCK.write_text("".join(lines))


def main() -> None:
    """Fetch the jars, or rewrite the lock."""
    parser = argparse.ArgumentParser(prog="python -m headrace_local.kafka_jars")
    parser.add_argument("--lock", action="store_true", help="rewrite kafka.lock")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    cache = cache_dir()
    if arguments.lock:
        write_lock(cache)
    try:
        class_path(cache)
    except JarsUnavailable as error:
        sys.exit(f"headrace: {error}")


if __name__ == "__main__":
    main()
