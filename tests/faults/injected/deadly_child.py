"""The loader's parser child, with two words that a parser does not survive."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from headrace_loader.sandbox import child

SEGFAULT = b"segfault-flower"
ENDLESS = b"endless-ivy"

_parse = child._parse


def _deadly(path: Path, *arguments: Any) -> Any:
    data = path.read_bytes()
    if SEGFAULT in data:
        ctypes.string_at(1)
    while ENDLESS in data:
        pass
    return _parse(path, *arguments)


if __name__ == "__main__":
    child._parse = _deadly
    child.main()
