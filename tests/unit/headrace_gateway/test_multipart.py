"""Forms as strangers send them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from headrace_gateway.multipart import MultipartReader
from headrace_gateway.problems import Problem


async def body(disposition: str) -> AsyncIterator[bytes]:
    yield b"--b\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\nx\r\n--b--"


async def filenames(disposition: str) -> list[str | None]:
    reader = MultipartReader("multipart/form-data; boundary=b", body(disposition))
    return [part.filename async for part in reader.parts()]


async def test_filenames_may_be_encoded() -> None:
    named = "form-data; name=file; filename*=utf-8''h%C3%A9.txt"

    assert await filenames(named) == ["hé.txt"]


@pytest.mark.parametrize(
    "parameter",
    [
        "filename*=idna''x",
        "filename*=punycode''%ff",
        "filename*=utf-8%00''x",
        "filename*=undefined''%ff",
        "filename*=x; filename*0=y; filename*0*=z",
        "filename*=utf-7''+2AA-",
    ],
)
async def test_a_filename_in_an_odd_encoding_is_the_clients_fault(
    parameter: str,
) -> None:
    with pytest.raises(Problem) as refused:
        await filenames(f"form-data; name=file; {parameter}")

    assert refused.value.status == 400
