"""Qdrant's gRPC messages, without the client that they are packed with.

Importing ``qdrant_client`` costs every process 2.3 s of CPU and 90 MB for models and an
HTTP client that we do not use; the generated messages alone cost a tenth of it. Python
runs a package's ``__init__`` before any of its modules, so an empty package stands in
for it meanwhile. Whoever imports ``qdrant_client`` later gets all of it, with the very
same messages.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["qdrant"]

_PACKAGE = "qdrant_client"


def _messages() -> ModuleType:
    if _PACKAGE in sys.modules:
        return import_module(f"{_PACKAGE}.grpc")
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"no module named {_PACKAGE!r}", name=_PACKAGE)
    stand_in = ModuleType(_PACKAGE)
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules[_PACKAGE] = stand_in
    try:
        return import_module(f"{_PACKAGE}.grpc")
    finally:
        del sys.modules[_PACKAGE]


if TYPE_CHECKING:
    from qdrant_client import grpc as qdrant
else:
    qdrant = _messages()
