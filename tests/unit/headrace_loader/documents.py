"""Small real documents, made by the libraries that people make them with."""

from __future__ import annotations

import io
import zipfile
import zlib
from email.message import EmailMessage

import docx
import openpyxl
import pptx
from pptx.util import Inches


def docx_file() -> bytes:
    document = docx.Document()
    document.add_heading("River report", level=0)
    document.add_heading("Spring", level=1)
    document.add_paragraph("The water rose by two metres.")
    document.add_paragraph("first item", style="List Bullet")
    table = document.add_table(rows=3, cols=2)
    for row, cells in enumerate((("Month", "Level"), ("March", "3"), ("April", "5"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    document.add_heading("Summer", level=2)
    document.add_paragraph("It fell\tagain.")
    return _saved(document)


def pptx_file() -> bytes:
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[1])
    slide.shapes.title.text = "Turbines"
    slide.placeholders[1].text = "Kaplan\nFrancis"
    slide.notes_slide.notes_text_frame.text = "Mention Pelton."
    second = show.slides.add_slide(show.slide_layouts[5])
    second.shapes.title.text = "Numbers"
    table = second.shapes.add_table(
        2, 2, Inches(1), Inches(1), Inches(4), Inches(1)
    ).table
    for row, cells in enumerate((("Type", "Head"), ("Kaplan", "20"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    return _saved(show)


def xlsx_file() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Gauges"
    sheet.append(["Station", "Level", "Open"])
    sheet.append(["Köln", 3.5, True])
    sheet.append([None, None, None])
    sheet.append(["Bonn", 4.0, None])
    book.create_sheet("Empty")
    book.create_sheet("Notes").append(["one cell"])
    return _saved(book)


def epub_file(**extra: bytes) -> bytes:
    chapter = (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><head>'
        "<title>{0}</title><script src='x.js'/></head><body><h1>{0}</h1>"
        "<p>{1}</p></body></html>"
    )
    return zip_file(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": b"<container "
            b'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            b'<rootfile full-path="OPS/book.opf"/>'
            b"</rootfiles></container>",
            "OPS/book.opf": b'<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
            b'<item id="b" href="two%20b.xhtml"/><item id="a" href="one.xhtml"/>'
            b'</manifest><spine><itemref idref="a"/><itemref idref="b"/></spine>'
            b"</package>",
            "OPS/one.xhtml": chapter.format("Source", "It springs.").encode(),
            "OPS/two b.xhtml": chapter.format("Mouth", "It ends.").encode(),
            **extra,
        }
    )


def mail_file() -> bytes:
    message = EmailMessage()
    message["Subject"] = "Übergabe der Schlüssel"
    message["From"] = "Ada <ada@example.com>"
    message["To"] = "bob@example.com"
    message["Date"] = "Mon, 02 Nov 2026 10:00:00 +0000"
    message.set_content("The key is under the stone.\n")
    message.add_alternative("<p>html twin</p>", subtype="html")
    message.add_attachment(
        b"a;b;c\n1;2;3\n", maintype="text", subtype="csv", filename="list.csv"
    )
    message.add_attachment(
        docx_file(),
        maintype="application",
        subtype="octet-stream",
        filename="../../report.docx",
    )
    message.add_attachment(
        b"\x89PNG\r\n\x1a\n\0\0", maintype="image", subtype="png", filename="p.png"
    )
    return bytes(message)


def pdf_file(
    pages: list[str], *, compress: bool = True, encrypted: bool = False
) -> bytes:
    """A PDF written by hand: one line of text a page."""
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (4 + 2 * n) for n in range(len(pages))), len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /A /Encoding /WinAnsiEncoding >>",
    ]
    for number, text in enumerate(pages):
        shown = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        content = f"BT /F1 12 Tf 50 700 Td ({shown}) Tj ET".encode("cp1252")
        extra = b""
        if compress:
            content, extra = zlib.compress(content), b" /Filter /FlateDecode"
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * number)
        )
        objects.append(
            b"<< /Length %d%s >>\nstream\n%s\nendstream"
            % (len(content), extra, content)
        )
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    for offset in offsets:
        out.write(b"%010d 00000 n \n" % offset)
    lock = (
        b" /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>"
        b" /ID [<00> <00>]" % (b"11" * 32, b"22" * 32)
        if encrypted
        else b""
    )
    out.write(
        b"trailer\n<< /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(objects) + 1, lock, start)
    )
    return out.getvalue()


def zip_file(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def _saved(document: object) -> bytes:
    out = io.BytesIO()
    document.save(out)  # type: ignore[attr-defined]
    return out.getvalue()
