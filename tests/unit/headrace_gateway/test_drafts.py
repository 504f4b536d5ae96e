"""Which URIs callers may send."""

from __future__ import annotations

import pytest
from headrace_gateway.drafts import TextOrUri
from pydantic import ValidationError


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.org/a?signature=b@c",
        "s3://bucket/a@b.txt",
        "http://[2001:db8::1]/a",
    ],
)
def test_uris_that_are_taken(uri: str) -> None:
    assert TextOrUri(uri=uri).uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "example.org/a",
        "https:///a",
        "https://ann:secret@example.org/a",
        "https://ann@example.org/a",
        "http://[broken/a",
        "https://example.org/\n",
    ],
)
def test_uris_that_are_not(uri: str) -> None:
    with pytest.raises(ValidationError):
        TextOrUri(uri=uri)
