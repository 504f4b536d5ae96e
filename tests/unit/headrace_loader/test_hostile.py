"""Files made to do harm: each ends as a failure or as text, and the next is parsed."""

import io
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from headrace_loader.extractors.source import Limits
from headrace_loader.sandbox.frames import Request
from headrace_loader.sandbox.pool import ParserLimits, ParserPool
from headrace_loader.workspace import Workspace

from headrace.errors import DocumentFailure
from headrace.messages import TextPart
from tests.unit.headrace_loader import documents

pytestmark = pytest.mark.slow

LIMITS = ParserLimits(
    memory_bytes=512 * 1024 * 1024,
    cpu_s=2,
    wall_s=60,
    text_bytes=20_000_000,
    documents=100,
    extraction=Limits(unpacked_bytes=50_000_000),
)
GOOD = documents.docx_file()
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def pdf(*objects: str) -> bytes:
    body = "".join(f"{n} 0 obj\n{o}\nendobj\n" for n, o in enumerate(objects, start=1))
    return f"%PDF-1.7\n{body}trailer\n<< /Root 1 0 R >>\n".encode()


def word(xml: str) -> bytes:
    return documents.zip_file({"word/document.xml": xml.encode()})


def nested_zip() -> bytes:
    inner = documents.zip_file({"x": bytes(900_000)})
    for _ in range(5):
        inner = documents.zip_file({f"{n}.zip": inner for n in range(16)})
    return inner


def overlapping_zip() -> bytes:
    """Many entries of the directory that share one member."""
    one = documents.zip_file({"word/document.xml": bytes(100_000)})
    start = one.index(b"PK\x01\x02")
    end = one.index(b"PK\x05\x06")
    entry = one[start:end]
    tail = bytearray(one[end:])
    tail[8:10] = tail[10:12] = (2000).to_bytes(2, "little")
    tail[12:16] = (len(entry) * 2000).to_bytes(4, "little")
    return one[:start] + entry * 2000 + bytes(tail)


def lying_zip() -> bytes:
    """The directory says a member is small; it unpacks to far more."""
    data = bytearray(documents.zip_file({"word/document.xml": bytes(40_000_000)}))
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.index(signature) + offset
        data[at : at + 4] = (1000).to_bytes(4, "little")
    return bytes(data)


def wide_xlsx() -> bytes:
    """One cell at the far corner of a sheet that claims to be full."""
    good = documents.xlsx_file()
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(out, "w") as to:
        for name in source.namelist():
            data = source.read(name)
            if name == "xl/worksheets/sheet1.xml":
                data = (
                    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/'
                    b'2006/main"><dimension ref="A1:XFD1048576"/><sheetData>'
                    b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
                    b"</sheetData></worksheet>"
                )
            to.writestr(name, data)
    return out.getvalue()


def deep_mail() -> bytes:
    head = b"From: a\r\nSubject: b\r\nDate: c\r\nMIME-Version: 1.0\r\n"
    parts = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(5000)
    )
    return head + parts


HOSTILE: dict[str, Callable[[], bytes]] = {
    "pdf whose page tree is a ring": lambda: pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R 2 0 R] /Count 9 >>",
        "<< /Type /Pages /Parent 2 0 R /Kids [2 0 R] /Count 9 >>",
    ),
    "pdf that claims a billion pages": lambda: pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1000000000 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>",
    ),
    "pdf of brackets": lambda: b"%PDF-1.7\n1 0 obj\n" + b"[" * 3_000_000,
    "pdf of open strings": lambda: (
        b"%PDF-1.7\nstream\n" + b"Tj (" * 500_000 + b"\nendstream"
    ),
    "pdf whose stream is a bomb": lambda: documents.pdf_file(["x" * 30_000_000]),
    "zip in zip in zip": nested_zip,
    "zip whose entries overlap": overlapping_zip,
    "zip that lies about its sizes": lying_zip,
    "docx of blanks": lambda: word(" " * 40_000_000),
    "docx of one endless text": lambda: word(
        f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>{"x " * 8_000_000}'
    ),
    "docx nested a million deep": lambda: word(
        f'<w:document xmlns:w="{WORD}">{"<w:p>" * 400_000}'
    ),
    "docx that laughs": lambda: word(
        '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa">'
        + "".join(
            f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
        )
        + f']><w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>&j;</w:t></w:r></w:p>'
        "</w:body></w:document>"
    ),
    "xlsx with a cell at the far end": wide_xlsx,
    "epub whose chapter is its package": lambda: documents.epub_file(
        **{"OPS/one.xhtml": b"<html><body>" + b"<p>x" * 100_000}
    ),
    "html nested a million deep": lambda: b"<html>" + b"<div>" * 1_000_000 + b"x",
    "html of open comments": lambda: b"<!doctype html>" + b"<!-" * 1_000_000 + b"x",
    "html of endless attributes": lambda: b"<html><p " + b"a=b " * 1_000_000 + b">x",
    "json nested a million deep": lambda: b"[" * 1_000_000 + b"]" * 1_000_000,
    "json of one huge number": lambda: b"[" + b"9" * 5_000_000 + b"]",
    "csv with a quote never closed": lambda: b'a,b\n"' + b"x,y\n" * 1_000_000,
    "mail nested five thousand deep": deep_mail,
    "mail of one endless header": lambda: (
        b"From: a\nDate: b\nSubject: " + b"=?utf-8?q?x?= " * 200_000 + b"\n\nbody"
    ),
    "text of one endless line": lambda: b"x\xff" * 5_000_000,
}


@pytest_asyncio.fixture
async def pool(tmp_path: Path) -> AsyncIterator[tuple[ParserPool, Workspace]]:
    workspace = Workspace(tmp_path)
    found = ParserPool(workspace, size=1, limits=LIMITS)
    yield found, workspace
    await found.close()


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_harms_nothing_but_itself(
    pool: tuple[ParserPool, Workspace], name: str
) -> None:
    parsers, workspace = pool
    largest = 0

    async def sink(part: TextPart, encoded: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(encoded))

    async def parse(data: bytes) -> str:
        path = workspace.file()
        path.write_bytes(data)
        try:
            await parsers.parse(path, Request(), sink)
        except DocumentFailure as failure:
            assert failure.message  # noqa: PT017
            return failure.code
        return "read"

    code = await parse(HOSTILE[name]())

    assert code in {
        "read",
        "no_text",
        "malformed_document",
        "unsupported_type",
        "resource_limit",
        "parser_crashed",
    }
    assert largest < 600_000
    assert await parse(GOOD) == "read"
    left = {p.name for p in workspace.path.rglob("*") if p.is_file()}
    assert left <= {"lock", "errors"}
