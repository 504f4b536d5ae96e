from __future__ import annotations

import subprocess
import sys


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_adapter_does_not_import_the_client() -> None:
    run(
        "import sys, headrace.qdrant\n"
        "assert 'qdrant_client' not in sys.modules\n"
        "assert 'httpx' not in sys.modules\n"
    )


def test_the_client_can_still_be_imported_and_has_the_same_messages() -> None:
    run(
        "from headrace.qdrant_messages import qdrant\n"
        "from qdrant_client import QdrantClient, grpc\n"
        "from qdrant_client.grpc import PointStruct\n"
        "assert grpc is qdrant\n"
        "assert PointStruct is qdrant.PointStruct\n"
        "assert QdrantClient(':memory:').get_collections().collections == []\n"
    )


def test_the_client_imported_before_is_used() -> None:
    run(
        "import qdrant_client\n"
        "from headrace.qdrant_messages import qdrant\n"
        "assert qdrant is qdrant_client.grpc\n"
    )
