"""Real things that the contract suites run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.store_process import StoreProcess, memory_dir


@pytest.fixture(scope="session")
def local_store() -> Iterator[StoreProcess]:
    with TemporaryDirectory(dir=memory_dir()) as directory:
        process = StoreProcess(Path(directory, "data"))
        process.start()
        yield process
        assert process.stop() == 0
